"""Frozen encoders over a data set: images to features, captions to text states, features to latents.

It imports `jobs.config`, `jobs.runs` and `jobs.executors`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
