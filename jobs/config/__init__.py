"""The settings of every stage as dataclasses, each field with its default, range and meaning.

It imports no other part of `jobs`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
