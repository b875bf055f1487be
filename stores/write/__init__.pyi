from .reused_rows import ReusedRows as ReusedRows
from .writer import StoreWriter as StoreWriter
