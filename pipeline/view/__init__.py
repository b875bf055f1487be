"""The viewer: a store's rows in a browser, page by page, served on loopback.

It imports `pipeline.drawing`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
