"""What a Parquet file says of its sizes, held against what it is: small files must not take much memory."""

from __future__ import annotations

from collections.abc import Sequence

from stores.sources.paths import SourceError
from stores.sources.readers.parquet_footer import ColumnChunk

# Rows that a file may have however small it is; above, at least a byte of the file for each.
FREE_ROWS = 100_000
# Column chunks that unpack to more than so many times their size, as no image does, are read up to so many bytes: one
# value may be all of it, and is in memory about ten times while it is decoded.
MAX_RATIO, FREE_BYTES = 200, 64 * 1024**2
# Below so many bytes of data pages a row, rows are numbers of values in the dictionary page.
INDEX_BYTES = 64
MAX_EXPANDED_BYTES = 4 * 1024**3
LISTED_ROWS = 256  # rows whose fields are in memory at a time


def check_footer(num_rows: int, groups: Sequence[Sequence[ColumnChunk]], num_bytes: int, where: object) -> None:
    """Raise `SourceError` for more rows than a file of that size can hold, or columns that unpack to far more.

    Args:
        num_rows: what the footer says.
        groups: the column chunks of each row group.
        num_bytes: size of the file.
        where: what errors name.
    """
    if num_rows > max(FREE_ROWS, num_bytes):
        raise SourceError(
            f"{where}: expected at most a row a byte; received {num_rows} rows in {num_bytes} bytes; write anew"
        )
    for group in groups:
        for chunk in group:
            unpacked, packed = chunk.total_uncompressed_size, max(1, chunk.total_compressed_size)
            if unpacked > FREE_BYTES and unpacked > MAX_RATIO * packed:
                raise SourceError(
                    f"{where}: expected a row group that unpacks to at most {MAX_RATIO} times its size; received "
                    f"{chunk.path_in_schema} of {packed} bytes, which unpacks to {unpacked}; write smaller row groups"
                )


def is_dictionary(chunk: ColumnChunk) -> bool:
    """Whether a column's values are best kept once each: rows are their numbers, or could unpack to gigabytes."""
    if not chunk.has_dictionary_page:
        return False
    dictionary = max(0, chunk.data_page_offset - chunk.dictionary_page_offset)
    rows = chunk.num_values
    numbers_alone = chunk.total_compressed_size - dictionary < INDEX_BYTES * rows
    return bool(numbers_alone or rows * dictionary > MAX_EXPANDED_BYTES)
