from .reused_rows import KeptRows as KeptRows
from .writer import StoreWriter as StoreWriter
