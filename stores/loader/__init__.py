"""Batches for a trainer: epoch orders, batches as pure functions of the step, residency, copies to the device.

It imports torch, `stores.backends`, `stores.format` and `stores.core`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
