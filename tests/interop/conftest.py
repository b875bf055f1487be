"""Stores of every kind with their values, a file server with byte ranges, and the table of what reads what."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from http_files import serve_files
from store_kinds import (
    ARCHIVED,
    BUCKETS,
    ROWS,
    STORES,
    VIEWS,
    write_added,
    write_archives,
    write_set,
    write_stores,
)
from stores import Store
from stores.format import Part

__all__ = ["PLAIN", "ROWS", "VIEWS", "Case", "check"]
# Not archives, whose records have no fixed size.
PLAIN = [*STORES, *(f"bucket {size}" for size in BUCKETS), "added array"]
NAMES = [*PLAIN, *(f"archive of {name}" for name in ARCHIVED)]


@dataclass(frozen=True)
class Case:
    """A folder of plain Zarr, and what each of its arrays holds as stored (rows, views, ...), or (tokens, ...)."""

    name: str
    folder: Path
    arrays: dict[str, np.ndarray]
    store: Store


def check(case: Case, part: str, found: Any) -> None:
    """Every bit as it was stored, fill values of rejected rows included."""
    expected, values = case.arrays[part], np.ascontiguousarray(found)
    assert values.dtype == expected.dtype
    assert values.shape == expected.shape
    assert values.tobytes() == expected.tobytes()


def as_zarr(store: Store, part: Part) -> np.ndarray:
    """A whole Zarr array as its shards hold it, fill values where they hold nothing."""
    form, shards = store.format(part), store.manifest.num_shards
    if part.tokens_per_chunk is None:
        return np.concatenate([store.read_shard(part, shard) for shard in range(shards)])
    found = np.full((shards * form.zarr_entries, *part.row_shape[1:]), part.fill, part.numpy_dtype)
    for shard in range(shards):
        values = store.read_shard(part, shard)
        found[shard * form.zarr_entries :][: len(values)] = values
    return found


@pytest.fixture(scope="session")
def stores_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interop")


@pytest.fixture(scope="session")
def cases(stores_root: Path) -> dict[str, Case]:
    stores = write_stores(stores_root)
    archives = write_archives(stores_root, stores)
    stores |= {f"bucket {size}": store for size, store in write_set(stores_root).stores.items()}
    stores["added array"] = write_added(stores_root).added_store("tokens")
    stored = {
        name: {part.name: as_zarr(store, part) for part in store.manifest.parts} for name, store in stores.items()
    }
    found = {name: Case(name, store.path / "data.zarr", stored[name], store) for name, store in stores.items()}
    for name, folder in archives.items():
        archive = f"archive of {name}"
        found[archive] = Case(archive, folder / "data.zarr", stored[name], stores[name])
    return found


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


@pytest.fixture(scope="session")
def http(stores_root: Path) -> Iterator[str]:
    """The URL of a server on loopback of the stores' folder."""
    with serve_files(stores_root) as url:
        yield url


@pytest.fixture
def case_url(case: Case, http: str, stores_root: Path) -> str:
    return f"{http}/{case.folder.relative_to(stores_root).as_posix()}"
