"""How good images are: reconstruction, diversity, copies, and distances between distributions of features.

It imports `fae.encoders`, `fae.images` and `fae.weights`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
