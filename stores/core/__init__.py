"""A store as a whole: opening and reading it, listing stores, finishing one, and the lease of its single writer.

It imports `stores.backends` and `stores.format`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
