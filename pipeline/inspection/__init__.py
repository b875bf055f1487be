"""A look at a data set and at the machine before anything is computed, and a recipe that fits both.

It imports `pipeline.report` (its page) and the rooms below it; only `examine` loads torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
