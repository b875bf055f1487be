"""Images and plots as files: matplotlib figures as PNG and SVG, grids with captions, plots of statistics and probes.

It imports no other part of `pipeline`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
