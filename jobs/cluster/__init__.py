"""Ray as a command meets it: a cluster that is joined, what its hosts run and whether its head answers, private API.

It imports `jobs.config`; Ray is imported only where it runs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
