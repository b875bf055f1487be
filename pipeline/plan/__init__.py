"""What a recipe will take, before anything is made: shards, time, disk, bandwidth and cost.

It imports `pipeline.config` and `pipeline.console`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
