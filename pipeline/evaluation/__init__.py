"""Evaluations and probes of named images, stores and runs, and the records of their metrics.

It imports `pipeline.artifacts` and the rooms below it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
