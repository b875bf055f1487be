"""A model with its loss and its sampler: what every generator family offers a trainer.

It imports `fae.models`, `fae.rng` and `fae.sampling`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
