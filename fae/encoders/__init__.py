"""Frozen encoders of images and captions: presets, timm models, transformers folders, joint vision-text towers.

It imports `fae.images` and `fae.weights`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
