"""A trained generator as a diffusers pipeline: the pipeline class, its inputs, the model card, the folder.

It imports every other part of `fae` but losses, metrics and probes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
