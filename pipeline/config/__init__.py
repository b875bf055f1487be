"""A recipe: every setting of every stage, read from YAML, overridden key by key, and the claims it makes.

It imports `jobs.config`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
