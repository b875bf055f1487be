"""The terminal: the command group, options made from settings, output, progress, metrics for Prometheus.

It imports `pipeline.config`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
