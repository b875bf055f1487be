"""Small stores of every kind with random values: plain, ragged, in buckets, with an added array; and their archives."""

from pathlib import Path

import numpy as np

from stores import (
    ArraySpec,
    BucketSet,
    RaggedArray,
    Store,
    StoreWriter,
    new_index,
)
from stores.care import pack
from stores.core import bucket_set_ingredients, write_bucket_set
from stores.exchange import add_array, store_values

ROWS, VIEWS, SHARD, REJECTED = 11, 2, 4, 5
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
BUCKETS = {"2x3": (2, 3, 8), "3x2": (3, 2, 8)}


def write_store(root: Path, name: str, kind: str, specs: list[ArraySpec]) -> Store:
    """A complete store below `root`, of which a row is rejected."""
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
        arrays |= {spec.name: _sequences(random, spec, len(rows)) for spec in specs if spec.is_ragged}
        writer.write_shard(shard, arrays, {REJECTED: "broken"} if REJECTED in rows else None)
    return writer.finalize(0.2)


def _sequences(random: np.random.Generator, spec: ArraySpec, rows: int) -> RaggedArray:
    """Sequences of random lengths, empty ones among them."""
    lengths = random.integers(0, spec.row_shape[0] + 1, (rows, VIEWS))
    return RaggedArray.from_lengths(random.standard_normal((lengths.sum(), *spec.row_shape[1:]), "f4"), lengths)


def write_stores(root: Path) -> dict[str, Store]:
    """One of each of `STORES`, by its name there."""
    return {name: write_store(root, name, kind, specs) for name, (kind, specs) in STORES.items()}


def write_set(root: Path) -> BucketSet:
    """A bucket set of two sizes of features, with one index of all rows."""
    stores = {
        size: write_store(root / "features", f"mixed {size}", "features", [ArraySpec("features", grid)])
        for size, grid in BUCKETS.items()
    }
    ingredients = bucket_set_ingredients("a test", {size: store.fingerprint for size, store in stores.items()})
    index = new_index([f"{size}/image-{row:02d}" for size in BUCKETS for row in range(ROWS)])
    return write_bucket_set(root / "buckets/mixed-0123456789ab", "mixed", ingredients, stores, index)


def write_added(root: Path) -> Store:
    """A store of latents to which the array "tokens" was added."""
    plain = write_store(root, "with tokens", "latents", [ArraySpec("latents", GRID)])
    tokens = write_store(root, "tokens", "features", [ArraySpec("features", (3, 8))])
    return add_array(plain, "tokens", store_values(plain, tokens))


def write_archives(root: Path, stores: dict[str, Store]) -> dict[str, Path]:
    """An archive's folder for each of `ARCHIVED`."""
    return {name: pack(stores[name], root / f"archive-{name.replace(' ', '-')}").path for name in ARCHIVED}
