"""A look at a data set before anything is computed: what was understood of it, and sample images with their fields.

It imports `pipeline.report` (its page) and the rooms below it; torch is not loaded.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
