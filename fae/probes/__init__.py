"""What frozen features still tell: classes, correspondences between images, and captions.

It imports `fae.metrics` and `fae.principal`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
