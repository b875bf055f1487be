"""The report: everything that is known about runs and stores on one HTML page that needs no network.

It imports `pipeline.evaluation`, `pipeline.artifacts` and `pipeline.drawing`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
