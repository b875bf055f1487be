"""Writing a store: its plan, rows reused from older stores, shard after shard, and the finish.

It imports `stores.backends`, `stores.format` and `stores.core`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
