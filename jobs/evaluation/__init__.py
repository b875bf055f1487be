"""What is measured of images, captions, features and latents.

It imports `jobs.sampling` and the rooms below it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
