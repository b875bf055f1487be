"""Training on a store while it fills: waiting, or encoding what is missing; statistics; each epoch's rows, recorded.

It imports `jobs.config`, `jobs.runs`, `jobs.executors`, `jobs.extraction` and `jobs.loop`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
