"""Reading a store: values, rows, statistics, and refusal of what is unfinished or damaged."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores import (
    ArraySpec,
    CorruptStoreError,
    ForeignStoreError,
    IncompleteStoreError,
    Store,
    StoreNotFoundError,
    open_store,
)
from stores.care.verification import verify


@settings(max_examples=30)
@given(rows=st.lists(st.integers(0, 49).filter(lambda row: row not in (3, 17)), max_size=20), view=st.integers(0, 1))
def test_rows_come_back_in_the_order_asked(module_store: tuple, rows: list[int], view: int) -> None:
    store, expected = module_store
    assert np.array_equal(store.read("features", rows, view), expected[np.array(rows, int), view])


def test_rows_splits_and_labels(store: Store) -> None:
    keys = store.index["key"].to_pylist()
    numbers = np.array([int(key.split("-")[1]) for key in keys])
    assert np.array_equal(store.labels, numbers % 3)
    val = np.isin(np.arange(50), store.rows("val"))
    ok = ~np.isin(np.arange(50), [3, 17])
    assert np.array_equal(val, (numbers % 10 == 0) & ok)
    assert np.array_equal(np.sort(np.concatenate([store.rows("train"), store.rows("val")])), store.rows())
    with pytest.raises(ValueError, match=r"split.*'test'"):
        store.rows("dev")


def test_scattered_rows_take_the_memory_of_their_values(
    make_writer: Any, fill: Any, values_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ArraySpec("features", (16, 16, 8), "float32")
    writer = make_writer(rows=200, arrays=[spec], rows_per_shard=50)
    fill(writer)
    store = writer.finalize()
    monkeypatch.setattr("stores.core.reader.GROUP_BYTES", 128 << 10)
    monkeypatch.setattr("stores.core.blocks.MOVED_BYTES", 16 << 10)
    rows = np.random.default_rng(0).permutation(200)[:150]
    store.read("features", rows[:1])  # what is kept of the index and of imports is no part of it
    tracemalloc.start()
    found = store.read("features", rows, 1)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1.2 * found.nbytes
    assert np.array_equal(found, values_of(range(200), spec, 2)[rows, 1])


def test_statistics_are_exact_over_ok_rows(store: Store, values_of: Any) -> None:
    values = values_of(range(50), store.arrays["features"], 2)[store.rows()].astype(np.float64).reshape(-1, 4)
    found = store.statistics("features")
    assert found.count == 48 * 2 * 4
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.std, values.std(0), rtol=1e-12)


def test_a_flipped_bit_is_never_read_as_a_value(store: Store) -> None:
    path = store.path / "data.zarr/features/c/1/0/0/0/0"
    data = bytearray(path.read_bytes())
    data[5 * 36 + 7] ^= 16
    path.write_bytes(data)
    store.read("features", [8, 9, 11], view=0)
    with pytest.raises(
        CorruptStoreError,
        match=r"c/1/0/0/0/0: row 2 of the shard, view 1: expected values that fit their crc32c.*repair the store",
    ):
        store.read("features", [10], view=1)


@pytest.mark.parametrize("change", ["short", "long", "missing"])
def test_a_shard_of_the_wrong_size_is_named(store: Store, change: str) -> None:
    path = store.path / "data.zarr/features/c/1/0/0/0/0"
    data = path.read_bytes()
    path.unlink() if change == "missing" else path.write_bytes(data[:-1] if change == "short" else data + b"x")
    with pytest.raises(CorruptStoreError, match=rf"c/1/0/0/0/0: expected {len(data)} bytes; received"):
        store.read("features", [8])


def test_places_that_are_no_complete_store_are_refused(tmp_path: Path, make_writer: Any) -> None:
    with pytest.raises(StoreNotFoundError, match=r"manifest\.json"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(IncompleteStoreError, match=r"run the command"):
        open_store(make_writer().path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(ForeignStoreError, match=r"no store"):
        open_store(other)


@pytest.mark.parametrize("find", [open_store, verify])
def test_what_is_no_store_is_answered_by_what_to_give(
    store: Store, tmp_path: Path, find: Callable[[Path], object]
) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/archive.json").write_text("{}")
    for path, message in (
        (tmp_path / "nowhere", "give the store's folder, such as fae-runs/latents/NAME-"),
        (tmp_path, "give the store's folder, such as fae-runs/latents/NAME-"),
        (store.path / "data.zarr", rf"it is in a store: give that store's folder, {store.path}$"),
        (store.path / "manifest.json", rf"it is in a store: give that store's folder, {store.path}$"),
        (store.path.parent, rf"it has stores in it: give {store.path}$"),
        (tmp_path / "archive", "it is a packed archive: unpack it"),
        (tmp_path / "archive/archive.json", "give the store's folder"),
    ):
        with pytest.raises(StoreNotFoundError, match=rf"expected a store; received no manifest\.json; {message}"):
            find(path)


def test_wrong_names_rows_and_views_are_named(store: Store) -> None:
    with pytest.raises(KeyError, match=r"expected one of \['features'\]"):
        store.read("latents", [0])
    with pytest.raises(IndexError, match=r"below 50; received 50"):
        store.read("features", [1, 50])
    with pytest.raises(IndexError, match=r"below 50; received -1"):
        store.read("features", [-1])
    with pytest.raises(IndexError, match=r"view below 2; received 2"):
        store.read("features", [1], view=2)
    with pytest.raises(IndexError, match=r"view below 2; received 0.5"):
        store.read("features", [1], 0.5)  # type: ignore[arg-type]
    for rows, message in (
        ([1.5], r"float64 \(1,\); give integers"),
        (store.ok, r"bool .*; use np.flatnonzero\(mask\)"),
    ):
        with pytest.raises(TypeError, match=rf"rows: expected row numbers; received {message}"):
            store.read("features", rows)  # type: ignore[arg-type]
    assert store.read("features", []).shape[0] == 0


def test_importing_stores_does_not_import_torch() -> None:
    import subprocess
    import sys

    code = "import sys, stores; print([name for name in ('torch', 'dask', 'zarr') if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
