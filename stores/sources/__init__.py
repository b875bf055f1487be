"""Where images come from: folders, tables of file names, tar files and Parquet files, and the scan of a whole source.

Of `stores` it imports backends and format alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
