"""Small stores of every kind with their values, a file server with byte ranges, and the table of what reads what."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from http_files import serve_files
from stores import ArraySpec, RaggedArray, Store, StoreWriter, new_index
from stores.care import pack
from stores.format import Part

ROWS, VIEWS, SHARD = 11, 2, 4
GRID = (3, 2, 8)
STORES: dict[str, tuple[str, list[ArraySpec]]] = {
    "features float16": ("features", [ArraySpec("features", GRID), ArraySpec("pixels", (6, 4, 3), "uint8")]),
    "features float32": ("features", [ArraySpec("features", GRID, "float32")]),
    "features bfloat16": ("features", [ArraySpec("features", GRID, "bfloat16")]),
    "features int8": ("features", [ArraySpec("features", GRID, "int8"), ArraySpec("pixels", (6, 4, 3), "uint8")]),
    "latents": ("latents", [ArraySpec("latents", GRID)]),
    "text": (
        "text",
        [ArraySpec("states", (5, 8)), ArraySpec("length", (1,), "uint8"), ArraySpec("pooled", (6,))],
    ),
    "text ragged": (
        "text",
        [
            ArraySpec("states", (5, 8), tokens_per_chunk=4),
            ArraySpec("length", (1,), "uint8"),
            ArraySpec("pooled", (6,)),
        ],
    ),
    "features float8": ("features", [ArraySpec("features", GRID, "float8_e4m3")]),
    "features grouped": ("features", [ArraySpec("features", (3, 2, 72), "int8_group")]),
    "text ragged int8": ("text", [ArraySpec("states", (5, 8), "int8", 4), ArraySpec("pooled", (6,), "bfloat16")]),
    "samples": ("samples", [ArraySpec("pixels", (6, 4, 3), "uint8"), ArraySpec("latents", GRID, "float32")]),
}
ARCHIVED = ("features float16", "features int8", "text", "text ragged")
NAMES = [*STORES, *(f"archive of {name}" for name in ARCHIVED)]


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


def sequences(random: np.random.Generator, spec: ArraySpec, rows: int) -> RaggedArray:
    """Sequences of random lengths, empty ones among them."""
    lengths = random.integers(0, spec.row_shape[0] + 1, (rows, VIEWS))
    return RaggedArray.from_lengths(random.standard_normal((lengths.sum(), *spec.row_shape[1:]), "f4"), lengths)


def write(root: Path, name: str) -> Store:
    kind, specs = STORES[name]
    index = new_index([f"image-{row:02d}" for row in range(ROWS)], label=[row % 3 for row in range(ROWS)])
    writer = StoreWriter.create(root, kind, name.replace(" ", "-"), specs, index, {}, views=VIEWS, rows_per_shard=SHARD)
    random = np.random.default_rng(0)
    for shard in writer.missing_shards():
        rows = writer.shard_rows(shard)
        arrays = {spec.name: random.standard_normal((len(rows), VIEWS, *spec.row_shape), "f4") for spec in specs}
        arrays |= {
            spec.name: random.integers(256, size=arrays[spec.name].shape, dtype="u1")
            for spec in specs
            if spec.dtype == "uint8"
        }
        arrays |= {spec.name: sequences(random, spec, len(rows)) for spec in specs if spec.is_ragged}
        writer.write_shard(shard, arrays, {5: "broken"} if 5 in rows else None)
    return writer.finalize(0.2)


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    root = tmp_path_factory.mktemp("interop")
    found = {}
    for name in STORES:
        store = write(root, name)
        stored = {part.name: as_zarr(store, part) for part in store.manifest.parts}
        found[name] = Case(name, store.path / "data.zarr", stored, store)
    for name in ARCHIVED:
        case, folder = found[name], root / f"archive-{name.replace(' ', '-')}"
        pack(case.store, folder)
        found[f"archive of {name}"] = Case(f"archive of {name}", folder / "data.zarr", case.arrays, case.store)
    return found


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


@pytest.fixture(scope="session")
def http(cases: dict[str, Case]) -> Iterator[str]:
    """The URL of a server on loopback of the stores' folder."""
    root = cases["latents"].folder.parents[1]
    with serve_files(root) as url:
        yield url


@pytest.fixture
def case_url(case: Case, http: str) -> str:
    return f"{http}/{case.folder.parent.name}/{case.folder.name}"
