"""Trackers of experiments that get a training's metrics: Weights & Biases, MLflow; optional, offline by default.

It imports only `jobs.config`; the trackers' packages are imported when a run asks for them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
