"""Rows out of and into the formats of others: safetensors, WebDataset, Parquet, .npz.

It imports `stores.backends`, `stores.format`, `stores.core` and `stores.write`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
