"""The stages, one file each: what a stage makes of which inputs and settings, and how much work that is.

It imports `pipeline.artifacts` and the rooms below it. Each stage imports its own job when it is asked for one, so that
no stage loads what another one needs: the frozen encoder is known to `extract` alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
