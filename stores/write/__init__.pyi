from .reuse import ReusedRows as ReusedRows
from .writer import StoreWriter as StoreWriter
