"""Large images in large pages of Parquet, read one at a time."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stores.sources import SourceError, open_source
from stores.sources.readers import parquet, parquet_pages
from stores.sources.readers.parquet_pages import run_lengths
from stores.sources.readers.snappy_blocks import FRAGMENT_BYTES, find_fragments

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.fixture(scope="module")
def values() -> list[bytes]:
    """Noise, zeros and a few repeated bytes, from nothing to a few of snappy's fragments."""
    random = np.random.default_rng(0)
    sizes = [0, 1, 300, FRAGMENT_BYTES, 3 * FRAGMENT_BYTES + 7, 90_000, 90_000, 40_000]
    noise = [random.bytes(size) for size in sizes]
    return [*noise, bytes(100_000), b"abcdefg" * 10_000, noise[4], noise[2]]


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pages and values are read as large ones are."""
    monkeypatch.setattr(parquet, "LARGE_PAGE_BYTES", 1)
    monkeypatch.setattr(parquet_pages, "LARGE_PAGE_BYTES", 1)
    monkeypatch.setattr(parquet_pages, "LARGE_VALUE_BYTES", 0)


def read_all(path: Path, order: list[int]) -> tuple[list[bytes], bool]:
    """The rows' bytes, and whether each row group was indexed."""
    source = open_source(str(path))
    items = source.list_items().items
    found = [source.read(items[row].source, items[row].offset, -1) for row in order]
    indexed = [entry.result() is not None for entry in source._reader._large._entries.values()]
    return found, bool(indexed) and all(indexed)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False], ids=["dictionary", "plain"])
@pytest.mark.parametrize("codec", ["none", "snappy"])
@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.struct({"bytes": pa.binary(), "path": pa.string()})]
)
def test_what_pyarrow_wrote_comes_back(tmp_path, values, version, dictionary, codec, kind):
    rows = [{"bytes": value, "path": "x.jpg"} for value in values] if pa.types.is_struct(kind) else values
    table = pa.table({"image": pa.array(rows, kind), "label": range(len(values))})
    options = {"use_dictionary": dictionary, "compression": codec, "data_page_version": version}
    # Of the second group the dictionary is full after two values, and pages of values follow.
    pq.write_table(
        table, tmp_path / "x.parquet", row_group_size=7, write_batch_size=2, dictionary_pagesize_limit=10**5, **options
    )
    order = [11, 0, *range(len(values)), 3]
    assert read_all(tmp_path / "x.parquet", order) == ([values[row] for row in order], True)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_nulls_are_files_below_the_image_root(tmp_path, values, version):
    (tmp_path / "photo.jpg").write_bytes(b"a photo")
    rows = [{"bytes": values[4], "path": None}, {"bytes": None, "path": "photo.jpg"}, None, {"bytes": b"", "path": ""}]
    pq.write_table(pa.table({"image": rows * 20}), tmp_path / "x.parquet", data_page_version=version)
    source = open_source(str(tmp_path / "x.parquet"))
    for row in (0, 76):
        assert source.read("x.parquet", row, -1) == values[4]
    assert source.read("x.parquet", 77, -1) == b"a photo"
    assert source.read("x.parquet", 79, -1) == b""
    with pytest.raises(SourceError, match="received null"):
        source.read("x.parquet", 78, -1)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"column_encoding": "DELTA_BYTE_ARRAY"}])
def test_other_codecs_and_encodings_are_left_to_pyarrow(tmp_path, values, options):
    pq.write_table(pa.table({"image": values}), tmp_path / "x.parquet", use_dictionary=False, **options)
    assert read_all(tmp_path / "x.parquet", [4, 1, 11]) == ([values[4], values[1], values[11]], False)


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"compression": "none"}])
def test_memory_is_that_of_an_image(tmp_path, monkeypatch, options):
    monkeypatch.setattr(parquet, "LARGE_PAGE_BYTES", 1 << 20)
    monkeypatch.setattr(parquet_pages, "LARGE_PAGE_BYTES", 1 << 20)
    random, size = np.random.default_rng(0), 1 << 19
    images = [random.bytes(size) for _ in range(16)]
    pq.write_table(pa.table({"image": images}), tmp_path / "x.parquet", **options)
    source = open_source(str(tmp_path / "x.parquet"))
    pool, before = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        assert all(source.read("x.parquet", row, -1) == image for row, image in enumerate(images))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
    # The whole page would be 16 images.
    assert most + pool.max_memory() < 5 * size


@settings(deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=3), plain=st.booleans()
)
@example(flips=[(187, 1)], plain=False)  # a flag instead of a page's fields
def test_flipped_bytes_are_read_or_refused_by_name(flips, plain, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "x.parquet"
    rows = [{"bytes": value, "path": "x"} for value in (b"a" * 50, b"b" * 70, b"a" * 50)]
    pq.write_table(pa.table({"image": [*rows, None]}), path, use_dictionary=not plain)
    changed = bytearray(path.read_bytes())
    for place, mask in flips:
        changed[place % len(changed)] ^= mask
    path.write_bytes(changed)
    with pytest.MonkeyPatch.context() as patched:
        any_size.__wrapped__(patched)
        source = open_source(str(path))
        try:
            items = source.list_items().items
        except SourceError as error:
            assert "x.parquet" in str(error)  # noqa: PT017
            return
        for item in items:
            try:
                assert isinstance(source.read(item.source, item.offset, item.num_bytes), bytes)
            except SourceError as error:
                assert "x.parquet" in str(error)  # noqa: PT017


def test_runs_and_packed_numbers():
    """The example of parquet-format's Encodings.md, and a run of 100 fives."""
    packed = bytes([0b00000011, 0b10001000, 0b11000110, 0b11111010])
    assert run_lengths(packed, 3, 8).tolist() == list(range(8))
    assert run_lengths(packed + bytes([200, 1, 5]), 3, 50).tolist() == [*range(8), *[5] * 42]
    assert run_lengths(b"", 0, 3).tolist() == [0, 0, 0]
    for data in (b"", packed, b"\x00\x05", packed[:2]):
        with pytest.raises((ValueError, IndexError)):
            run_lengths(data, 3, 9)


def test_snappy_blocks_of_one_piece_are_left_alone(tmp_path):
    """A copy from before the 64 KiB that it lies in, as no compressor of note writes it."""
    head = b"\xa0\x8d\x06"  # 100,000 bytes
    literal = b"\xf4\xff\xff" + bytes(FRAGMENT_BYTES)  # a whole fragment
    copy = b"\xfe\xff\xff"  # 64 bytes, 65,535 back
    path = tmp_path / "block"
    path.write_bytes(head + literal + copy)
    with path.open("rb") as file, pytest.raises(ValueError, match="refers to the one before"):
        find_fragments(file.fileno(), 0, os.path.getsize(path))
