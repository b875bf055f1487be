"""Contracts as tests: subclass one for an implementation of your own and run it with pytest.

It may import every part of `fae`, and pytest.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
