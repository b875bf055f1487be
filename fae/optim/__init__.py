"""Optimizers, learning rates as functions of the step, and the exponential moving average of weights.

It imports torch alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
