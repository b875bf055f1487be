"""What lies below a root folder: stores, runs and samples, by name, with lineage and state.

It imports `pipeline.console` and `pipeline.drawing`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
