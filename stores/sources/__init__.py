"""Where pictures come from: a folder, a table of file names, tar files, or Parquet files."""

from stores.sources.base import Listing, Source, SourceError, SourceItem
from stores.sources.select import open_source

__all__ = ["Listing", "Source", "SourceError", "SourceItem", "open_source"]
