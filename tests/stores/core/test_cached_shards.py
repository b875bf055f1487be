"""Stores elsewhere read through copies of their shards: the same values, each shard fetched once and checked."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from http_files import serve_files
from stores import ArraySpec, CorruptStoreError, Loader, Store, open_store
from stores.backends.object_store import ObjectByteStore
from stores.exchange.adding import add_array
from stores.exchange.copying import copy_store
from stores.exchange.row_values import RowValues


@pytest.fixture
def source(make_writer: Any, fill: Any) -> Store:
    """50 rows in 7 shards of two arrays, one in two parts, and an added array."""
    writer = make_writer(arrays=[ArraySpec("features", (2, 2, 4), "int8"), ArraySpec("pixels", (4, 4, 3), "uint8")])
    fill(writer, rejected={3: "truncated file"})
    store = writer.finalize(max_rejected=0.1)
    return add_array(store, "score", RowValues((1,), "float32", {}, lambda rows: rows[:, None, None] / 7))


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of shards that are asked for over the network."""
    asked: list[str] = []
    for name in ("read", "read_into"):
        whole = getattr(ObjectByteStore, name)

        def ask(self: Any, key: str, *rest: Any, whole: Any = whole) -> Any:
            if "/c/" in key:
                asked.append(f"{self.url}/{key}")
            return whole(self, key, *rest)

        monkeypatch.setattr(ObjectByteStore, name, ask)
    return asked


def test_values_are_the_same_and_every_shard_comes_once(
    source: Store, s3_url: str, tmp_path: Path, requests: list[str]
) -> None:
    url = copy_store(source, f"{s3_url}/features").url
    requests.clear()
    rows = source.rows()
    for _ in range(2):
        there = open_store(url, cache_dir=tmp_path / "cache")
        for name in there.arrays:
            for view in (0, 1):
                np.testing.assert_array_equal(there.read(name, rows, view), source.read(name, rows, view))
    assert len(requests) == len(set(requests)) == 3 * 7 + 1
    requests.clear()
    again = pickle.loads(pickle.dumps(there))  # noqa: S301 - as workers get it
    loader = Loader(again, ("features", "score"), batch_size=8, residency="stream", split="all", device="cpu")
    for batch in loader.epoch(0):
        np.testing.assert_allclose(batch["score"][:, 0], batch["row"] / 7, rtol=1e-6)
    assert not requests


def test_a_loader_is_given_the_folder_of_copies(
    source: Store, s3_url: str, tmp_path: Path, requests: list[str]
) -> None:
    there = open_store(copy_store(source, f"{s3_url}/features").url)
    settings = {"batch_size": 8, "residency": "stream", "split": "all", "cache_dir": tmp_path / "cache"}
    asked = []
    for _ in range(2):
        requests.clear()
        rows = torch.cat([batch["row"] for batch in Loader(there, ("score",), **settings).epoch(0)])
        asked.append(len(requests))
    assert (asked[0] > 0, asked[1]) == (True, 0)
    assert len(rows) == 48
    with pytest.raises(ValueError, match=r"cache_bytes: expected at least \d+, a shard of .*received 1"):
        Loader(there, ("score",), **settings, cache_bytes=1)


def test_a_bound_below_the_store_still_reads_it(source: Store, tmp_path: Path) -> None:
    with serve_files(source.path.parent) as host:
        there = open_store(f"{host}/{source.path.name}", tmp_path / "cache", cache_bytes=4000)
        rows = source.rows()
        np.testing.assert_array_equal(there.read("pixels", rows), source.read("pixels", rows))
        held = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
        assert 0 < held <= 4000
        with pytest.raises(ValueError, match=r"cache_bytes: expected at least \d+, a shard of .*received 100"):
            open_store(f"{host}/{source.path.name}", tmp_path / "cache", cache_bytes=100)


def test_a_damaged_shard_does_not_come_in(source: Store, tmp_path: Path) -> None:
    shard = source.path / "data.zarr/pixels/c/2/0/0/0/0"
    good = shard.read_bytes()
    shard.write_bytes(good[:9] + bytes([good[9] ^ 1]) + good[10:])
    with serve_files(source.path.parent) as host:
        there = open_store(f"{host}/{source.path.name}", tmp_path / "cache")
        with pytest.raises(
            CorruptStoreError, match=r"c/2/0/0/0/0: 1 records do not fit their crc32c.*repair the store"
        ):
            there.read("pixels", [17])
        shard.write_bytes(good)
        np.testing.assert_array_equal(there.read("pixels", [17]), source.read("pixels", [17]))


def test_a_folder_is_read_where_it_is(source: Store, tmp_path: Path) -> None:
    store = open_store(source.path, tmp_path / "cache")
    store.read("pixels", [0])
    assert store.path == source.path
    assert not (tmp_path / "cache").exists()
