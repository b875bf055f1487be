"""The networks, one file each: autoencoders, pixel decoders and the transformers of every generator family.

It imports `fae.nn`, `fae.rng`, `fae.images` and `fae.sampling`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
