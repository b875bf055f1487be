from .reuse import ReusedRows as ReusedRows
from .shard_build import zero_arrays as zero_arrays
from .writer import StoreWriter as StoreWriter
