"""Stores copied from place to place, and rows out of and into the formats of others: safetensors, WebDataset, ….

It imports `stores.backends`, `stores.format`, `stores.core`, `stores.write` and `stores.care`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
