"""Shards on workers: the worker contract, local and Ray pools, dispatch, devices, counters.

It imports `jobs.config`; Ray is imported only where it runs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
