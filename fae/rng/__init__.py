"""Random numbers that belong to a row or a sample, so that a result depends on no batch size and no device.

It imports torch and numpy alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
