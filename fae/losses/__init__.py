"""Losses of the feature autoencoder and the pixel decoder: reconstruction, perceptual, adversarial.

It imports `fae.encoders`, `fae.optim`, `fae.rng` and `fae.weights`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
