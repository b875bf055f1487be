"""Weight files: where they come from, their digests, and how files that PyPI packages carry become state dicts.

It imports no other part of `fae`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
