"""Sizes of column chunks, read without pyarrow, are those that pyarrow reads."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources.readers.parquet_footer import column_chunks

# As parquet.thrift numbers them.
TYPES = ["BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"]
CODECS = ["UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW"]


@pytest.mark.parametrize(
    "options",
    [{}, {"use_dictionary": False, "compression": "zstd"}, {"write_page_index": True}, {"version": "1.0"}],
    ids=["plain", "zstd", "page-index", "version-1"],
)
def test_what_pyarrow_reads(tmp_path, options):
    columns = {
        "image": pa.array([{"bytes": b"a" * 50, "path": "x"}] * 100),
        "tags": [["one", "two"]] * 100,
        "flag": [True] * 100,
        "number": np.arange(100.0),
    }
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=7, **options)
    footer = pq.read_metadata(path)
    groups = column_chunks(path, footer.num_row_groups)
    assert len(groups) == footer.num_row_groups == 15  # more than the short form of a list's length holds
    for group, chunks in enumerate(groups):
        assert len(chunks) == footer.num_columns
        for number, chunk in enumerate(chunks):
            expected = footer.row_group(group).column(number)
            for name in set(chunk._fields) - {"dictionary_page_offset", "type", "codec"}:
                assert getattr(chunk, name) == getattr(expected, name)
            assert chunk.dictionary_page_offset == (expected.dictionary_page_offset or 0)
            assert (TYPES[chunk.type], CODECS[chunk.codec]) == (expected.physical_type, expected.compression)
            assert chunk.has_dictionary_page == expected.has_dictionary_page


def test_another_number_of_row_groups_is_damage(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    with pytest.raises(IndexError):
        column_chunks(tmp_path / "x.parquet", 2)
