"""Small stores for the tests of this folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stores import ArraySpec, Store, StoreWriter, new_index

ROWS = 50
FLOATS = {"float16": "float16"}
MakeWriter = Callable[..., StoreWriter]
Fill = Callable[..., None]


def _values_of(rows: range, spec: ArraySpec, views: int) -> np.ndarray:
    """Values that differ in every row, view and channel, so that a mix-up shows."""
    shape = (len(rows), views, *spec.row_shape)
    seeds = np.arange(rows.start, rows.stop).reshape(-1, *[1] * (len(shape) - 1))
    view = np.arange(views).reshape(1, -1, *[1] * len(spec.row_shape))
    channel = np.arange(spec.channels)
    if spec.dtype == "uint8":
        return np.broadcast_to((seeds * 7 + view * 101 + channel) % 251, shape).astype(np.uint8)
    return np.broadcast_to(seeds + view / 2 + channel / 16, shape).astype(FLOATS.get(spec.dtype, "float32"))


def _fill(writer: StoreWriter, shards: list[int] | None = None, rejected: dict[int, str] | None = None) -> None:
    """Write shards (the missing ones) with `_values_of`."""
    for shard in writer.missing_shards() if shards is None else shards:
        rows = writer.shard_rows(shard)
        arrays = {spec.name: _values_of(rows, spec, writer.manifest.views) for spec in writer.manifest.arrays}
        writer.write_shard(shard, arrays, {row: why for row, why in (rejected or {}).items() if row in rows})


@pytest.fixture(scope="session")
def values_of() -> Callable[[range, ArraySpec, int], np.ndarray]:
    """(rows, spec, views) -> the values that `fill` writes for those rows."""
    return _values_of


@pytest.fixture(scope="session")
def fill() -> Fill:
    """(writer, shards=None, rejected=None): writes the shards, by default the missing ones."""
    return _fill


@pytest.fixture
def make_writer(tmp_path: Path) -> MakeWriter:
    """A planned store of 50 rows, 2 views and shards of 8 rows; every argument can be replaced."""

    def make(rows: int = ROWS, **changes: Any) -> StoreWriter:
        keys = [f"image-{row:03d}" for row in range(rows)]
        splits = ["val" if row % 10 == 0 else "train" for row in range(rows)]
        index = new_index(keys, label=[row % 3 for row in range(rows)], split=splits)
        options: dict[str, Any] = {
            "kind": "features",
            "name": "small",
            "arrays": [ArraySpec("features", (2, 2, 4))],
            "index": index,
            "ingredients": {"encoder": {"layer": 8}},
            "views": 2,
            "rows_per_shard": 8,
        }
        return StoreWriter.create(tmp_path / "features", **{**options, **changes})

    return make


@pytest.fixture
def store(make_writer: MakeWriter) -> Store:
    """The same store, complete, with rows 3 and 17 rejected."""
    writer = make_writer()
    _fill(writer, rejected={3: "truncated file", 17: "no image"})
    return writer.finalize(max_rejected=0.1)


@pytest.fixture(scope="module")
def module_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, np.ndarray]:
    """One unharmed store for many examples, and its values (rows, views, ...)."""
    spec = ArraySpec("features", (2, 2, 4))
    index = new_index([f"image-{row:03d}" for row in range(ROWS)])
    folder = tmp_path_factory.mktemp("stores")
    writer = StoreWriter.create(folder, "features", "shared", [spec], index, {}, views=2, rows_per_shard=8)
    _fill(writer)
    return writer.finalize(), _values_of(range(ROWS), spec, 2)
