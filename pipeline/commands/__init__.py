"""The commands of `fae-pipe`, one file for each part of the pipeline.

It imports every other part of `pipeline`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
