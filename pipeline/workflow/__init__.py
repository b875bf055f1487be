"""Workflows: a recipe and its variants from start to end, each stage doing only what is out of date.

It imports every other part of `pipeline` but the commands.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
