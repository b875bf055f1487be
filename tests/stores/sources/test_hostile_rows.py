"""Parquet files that are small and want much memory, and files of rows that are damaged among good ones."""

import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores.sources import SourceError, open_source

LONG_AGO = 1_600_000_000_000_000_000


def write(path: Path, columns: dict, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def good(path: Path, count: int = 3) -> Path:
    return write(path, {"image": [f"{path.name}{n}".encode() for n in range(count)], "label": list(range(count))})


@pytest.mark.parametrize("dictionary", [False, True])
def test_a_value_that_unpacks_to_far_more_is_refused(tmp_path, dictionary):
    values = [bytes(65 * 1024**2), b"x"]
    path = write(tmp_path / "x.parquet", {"image": values}, compression="zstd", use_dictionary=dictionary)
    assert path.stat().st_size < 100_000
    with pytest.raises(SourceError, match="expected a row group that unpacks to at most 200 times its size"):
        open_source(str(path)).list_items()


def test_a_flood_of_null_rows_is_refused(tmp_path):
    path = write(tmp_path / "x.parquet", {"image": pa.nulls(2_000_000, pa.binary())})
    with pytest.raises(SourceError, match="expected at most a row a byte; received 2000000 rows"):
        open_source(str(path)).list_items()


@pytest.mark.parametrize("struct", [False, True])
def test_one_value_in_many_rows_lies_in_memory_once(tmp_path, struct):
    value = os.urandom(2 * 1024**2)
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array([value], pa.binary()))
    if struct:
        column = pa.StructArray.from_arrays([column], ["bytes"])
    path = write(tmp_path / "x.parquet", {"image": column})
    assert path.stat().st_size < 10 * 1024**2  # and 4 GiB if every row had its own
    source = open_source(str(path))
    items = source.list_items().items
    before = pa.total_allocated_bytes()
    for item in items[::500]:
        assert source.read(item.source, item.offset, item.num_bytes) == value
    assert pa.total_allocated_bytes() - before < 64 * 1024**2


def test_captions_of_megabytes_are_no_captions(tmp_path):
    columns = {"image": [b"x", b"y"], "caption": ["a" * 10**6, "a dog"]}
    tracemalloc.start()
    listing = open_source(str(write(tmp_path / "x.parquet", columns))).list_items()
    tracemalloc.stop()
    assert [item.caption for item in listing.items] == [None, ["a dog"]]
    (problem,) = listing.summary.problems
    assert "expected at most 65536 characters" in problem.example


def test_damaged_and_empty_files_among_good_ones_lose_themselves_alone(tmp_path):
    for number in range(4):
        good(tmp_path / f"{number}.parquet")
    (tmp_path / "1.parquet").write_bytes((tmp_path / "1.parquet").read_bytes()[:-20])
    good(tmp_path / "2.parquet", 0)
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())])
    pq.write_table(schema.empty_table(), tmp_path / "2.parquet")
    listing = open_source(str(tmp_path)).list_items()
    assert [item.key for item in listing.items] == [f"{f}/{row:08d}" for f in (0, 3) for row in range(3)]
    (problem,) = listing.summary.problems
    assert (problem.count, "1.parquet" in problem.example) == (1, True)


def test_only_damaged_files_are_an_error(tmp_path):
    (tmp_path / "1.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(SourceError, match=r"1\.parquet: expected a Parquet or Arrow file"):
        open_source(str(tmp_path)).list_items()


def test_files_of_rows_that_have_not_changed_are_not_listed_again(tmp_path, monkeypatch):
    from stores.sources.readers.parquet import ParquetReader

    calls, plain, cache = [], ParquetReader.records, tmp_path / "cache"

    def records(self, source, columns):
        calls.append(source)
        return plain(self, source, columns)

    monkeypatch.setattr(ParquetReader, "records", records)
    for number in range(2):
        os.utime(good(tmp_path / "set" / f"{number}.parquet"), ns=(LONG_AGO, LONG_AGO))
    first = open_source(str(tmp_path / "set"), cache=str(cache)).list_items()
    seen = len(calls)
    assert seen >= 2
    assert open_source(str(tmp_path / "set"), cache=str(cache)).list_items() == first
    assert len(calls) == seen
    os.utime(good(tmp_path / "set" / "1.parquet", 5), ns=(LONG_AGO, LONG_AGO))
    assert len(open_source(str(tmp_path / "set"), cache=str(cache)).list_items().items) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",".join(f"c{n}" for n in range(30_000)), "expected at most 25,000 columns; received 30,000"),
        ("file_name,text\na.png," + "x" * 2**25, "a line of more than 16,777,216 characters"),
    ],
)
def test_tables_that_are_far_too_wide_are_named(tmp_path, text, message):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(b"x")
    (tmp_path / "metadata.csv").write_text(text + "\n")
    summary = open_source(str(tmp_path)).list_items().summary
    assert message in str(summary.to_json())
