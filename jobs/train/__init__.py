"""What is trained: autoencoders, pixel decoders and generators, one file a model.

It imports `jobs.loop`, `jobs.extraction` and the rooms below them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
