"""Stores of features and latents: bytes at rest that are never lost, never wrong, and read at memory speed.

The names below are the public interface; the sub-packages are backends, format, core, write, loader, care, exchange
and sources. It may import numpy, zarr, numcodecs, pyarrow and dask; the loader alone imports torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
