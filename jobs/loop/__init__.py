"""One training loop for every model, in this process or on the workers of a Ray Train group.

It imports `jobs.config`, `jobs.runs` and `jobs.executors`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
