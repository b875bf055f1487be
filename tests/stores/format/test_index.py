"""The row index: defaults, order, digest, and refusal of what is malformed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stores import CorruptStoreError, new_index
from stores.format.index import (
    SCHEMA,
    column_numbers,
    complete_index,
    index_digest,
    index_from_bytes,
    index_to_bytes,
    permuted_index,
    rows_from_file,
)


def small(**columns: list) -> pa.Table:
    return new_index(["b", "a", "c"], **{"label": [1, 0, None], "caption": [["x", "y"], None, []], **columns})


def test_columns_and_defaults() -> None:
    table = small()
    assert table.schema == SCHEMA
    assert table["row"].to_pylist() == [0, 1, 2]
    assert table["status"].to_pylist() == ["ok"] * 3
    assert table["caption"].to_pylist() == [["x", "y"], None, []]


def test_the_seeded_order_does_not_depend_on_the_order_given() -> None:
    keys = [f"k{number}" for number in range(40)]
    forward, backward = (permuted_index(new_index(order), seed=3) for order in (keys, keys[::-1]))
    assert forward.equals(backward)
    assert forward["key"].to_pylist() != keys
    assert sorted(forward["key"].to_pylist()) == sorted(keys)
    assert forward["row"].to_pylist() == list(range(40))
    assert not permuted_index(new_index(keys), seed=4)["key"].equals(forward["key"])


def test_parquet_round_trip() -> None:
    table = small()
    assert index_from_bytes(index_to_bytes(table), "here", 3).equals(table)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([7, None, 3], pa.int32()).slice(1),
        pa.chunked_array([pa.array([None, 2], pa.int64()), pa.array([5, None], pa.int64())]),
        pa.chunked_array([], pa.int32()),
    ],
)
def test_numbers_of_a_column_have_minus_one_where_there_is_none(column: pa.Array) -> None:
    found = column_numbers(column)
    assert found.dtype == np.int64
    assert found.tolist() == [-1 if number is None else number for number in column.to_pylist()]


@pytest.mark.parametrize(
    "change",
    [
        {"label": [1, 1, None]},
        {"sha256": ["0", "1", "2"]},
        {"split": ["val", "train", "train"]},
        {"caption": [["x"], None, []]},
    ],
)
def test_the_digest_covers_what_a_row_is(change: dict) -> None:
    assert index_digest(small(**change)) != index_digest(small())


def test_the_digest_ignores_where_the_bytes_lie() -> None:
    assert index_digest(small(source=["x", "y", "z"], offset=[1, 2, 3], num_bytes=[4, 5, 6])) == index_digest(small())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"split": ["dev", "train", "train"]}, r"split.*dev"),
        ({"label": ["cat", "dog", None]}, r"index: .*'dog'"),
        ({"labels": [1, 2, 3]}, r"received \['labels'\]"),
        ({"sha256": ["0", None, "1"]}, r"sha256.*null"),
        ({"offset": [1, 2]}, r"length"),
    ],
)
def test_bad_columns_are_named(columns: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**columns)


def test_repeated_and_missing_keys_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 repeat, the first is 'a'"):
        new_index(["a", "b", "a"])
    with pytest.raises(ValueError, match=r"at least one row"):
        new_index([])
    with pytest.raises(ValueError, match=r"missing: \['key'"):
        complete_index(pa.table({"label": [1]}))


def test_a_foreign_or_damaged_file_is_refused() -> None:
    good = index_to_bytes(small())
    for bad in (b"", good[:-10], good[: len(good) // 2], b"PAR1" + bytes(40) + b"PAR1"):
        with pytest.raises(CorruptStoreError, match=r"here/index\.parquet"):
            index_from_bytes(bad, "here", 3)
    with pytest.raises(CorruptStoreError, match=r"expected the 4 rows.*received 3"):
        index_from_bytes(good, "here", 4)


def test_some_rows_are_read_from_the_row_groups_that_hold_them(tmp_path: Path) -> None:
    table = new_index([f"{row:03d}" for row in range(100)], offset=list(range(100)))
    pq.write_table(table, tmp_path / "index.parquet", row_group_size=16)
    rows = np.array([97, 3, 3, 40, 15, 16])
    found = rows_from_file(tmp_path / "index.parquet", "here", rows, ["offset", "key"])
    assert found.column_names == ["offset", "key"]
    assert found["offset"].to_pylist() == rows.tolist()
    assert rows_from_file(tmp_path / "index.parquet", "here", rows[:0], ["key"]).num_rows == 0
    for bad in (np.array([100]), np.array([-1])):
        with pytest.raises(CorruptStoreError, match=r"here/index\.parquet"):
            rows_from_file(tmp_path / "index.parquet", "here", bad, ["key"])
