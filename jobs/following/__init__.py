"""Training on a store while another process fills it: waiting, statistics, the rows of each epoch and their record.

It imports `jobs.config`, `jobs.runs`, `jobs.executors`, `jobs.extraction` and `jobs.loop`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
