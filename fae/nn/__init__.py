"""Layers that the models share: norms, attention, MLPs, positions, causal and joint blocks.

It imports torch and diffusers, and no other part of `fae`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
