"""Where a store's bytes live: local folders and object stores behind one contract, and durable files.

It knows keys and bytes, nothing of arrays or manifests, and imports no other part of `stores`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
