"""What a store's bytes mean: array specs, shard files, commit records, the manifest, the row index, statistics, errors.

Pure functions of bytes and values that open no file; it imports no other part of `stores`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
