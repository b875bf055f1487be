"""Two stores are compared by ingredients and by rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stores import ArraySpec, Store, StoreWriter, new_index
from stores.care.differences import diff


def make(parent: Path, rows: dict[str, tuple[str, int | None, str]], layer: int = 8, **columns: Any) -> Store:
    """rows: key -> (sha256, label, split)."""
    digests, labels, splits = zip(*rows.values(), strict=True)
    index = new_index(list(rows), sha256=list(digests), label=list(labels), split=list(splits), **columns)
    arrays = [ArraySpec("values", (4,), "uint8")]
    writer = StoreWriter.create(parent, "features", "small", arrays, index, {"encoder": {"layer": layer}})
    writer.write_shard(0, {"values": np.zeros((len(rows), 1, 4), np.uint8)})
    return writer.finalize()


ROWS = {"a": ("1", 0, "train"), "b": ("2", 1, "train"), "c": ("3", None, "val")}


@pytest.fixture
def first(tmp_path: Path) -> Store:
    return make(tmp_path, ROWS)


def test_a_store_equals_itself(first: Store) -> None:
    found = diff(first, first)
    assert found.equal
    assert found.same_values
    assert found.to_json()["changed"] == {"content": [], "label": [], "split": [], "caption": [], "status": []}


def test_ingredients_are_named(first: Store, tmp_path: Path) -> None:
    found = diff(first, make(tmp_path, ROWS, layer=11))
    assert found.ingredients == ["encoder.layer: 8 → 11"]
    assert not found.equal
    assert found.same_values


def test_rows_are_added_removed_renamed_and_changed(first: Store, tmp_path: Path) -> None:
    rows = {"a": ("9", 0, "train"), "c": ("3", 2, "train"), "e": ("2", 1, "train"), "d": ("4", 0, "val")}
    found = diff(first, make(tmp_path, rows))
    assert found.added == ["d"]
    assert found.removed == []
    assert found.renamed == [("b", "e")]
    assert found.changed == {"content": ["a"], "label": ["c"], "split": ["c"], "caption": [], "status": []}
    back = diff(make(tmp_path, rows), first)
    assert (back.added, back.removed, back.renamed) == ([], ["d"], [("e", "b")])


def test_captions_and_copies(tmp_path: Path) -> None:
    one = make(tmp_path, {"a": ("1", 0, "train"), "b": ("1", 0, "train")}, caption=[["x", "y"], None])
    two = make(
        tmp_path, {"a": ("1", 0, "train"), "c": ("1", 0, "train"), "d": ("1", 0, "train")}, caption=[["x"], None, []]
    )
    found = diff(one, two)
    assert found.changed["caption"] == ["a"]
    assert found.renamed == [("b", "c")]
    assert found.added == ["d"]


def test_a_rejected_row_is_a_changed_status(tmp_path: Path, first: Store, make_writer: Any, fill: Any) -> None:
    stores = []
    for name, rejected in (("whole", {}), ("holed", {3: "truncated"})):
        writer = make_writer(name=name)
        fill(writer, rejected=rejected)
        stores.append(writer.finalize(max_rejected=0.1))
    found = diff(*stores)
    assert found.changed["status"] == [stores[0].index["key"][3].as_py()]
    assert not found.same_values
