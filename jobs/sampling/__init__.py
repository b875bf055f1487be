"""Samples of a trained generator: which ones, with which prompts, on how many workers.

It imports `jobs.train` and the rooms below it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
