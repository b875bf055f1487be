"""The folder of one trained model: its record, metrics, checkpoints and finished weights.

It imports `jobs.config`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
