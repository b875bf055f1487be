"""Runs and samples of a root at a URL: copied there from the folder in which they are made, and fetched from there.

It imports `jobs.runs` and `jobs.loop`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
