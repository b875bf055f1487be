"""Keeping stores whole: verify, repair, compare, archive, remove what nothing refers to, and statistics of arrays.

It imports `stores.backends`, `stores.format` and `stores.core`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
