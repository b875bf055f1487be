"""Stores of random numbers in the shapes of real ones, for tests/bench/gpu.py; no encoder and no network is needed."""

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stores import ArraySpec, Store, StoreWriter, new_index


@dataclass(frozen=True)
class Shapes:
    """What the stores hold of an image, and how many rows each has."""

    grid: int = 16
    channels: int = 32
    feature_dim: int = 1536
    image_size: int = 256
    tokens: int = 128
    text_dim: int = 2048
    latent_rows: int = 8192
    feature_rows: int = 512
    classes: int = 1000


TINY = Shapes(2, 8, 64, 16, tokens=6, text_dim=24, latent_rows=64, feature_rows=32, classes=4)


def latents(folder: Path, shapes: Shapes) -> Store:
    """Standard normal latents with classes."""
    return _store(
        folder, "latents", shapes.latent_rows, {"latents": (shapes.grid, shapes.grid, shapes.channels)}, shapes
    )


def features(folder: Path, shapes: Shapes) -> Store:
    """Standard normal features, and images."""
    size = shapes.image_size
    arrays = {"features": (shapes.grid, shapes.grid, shapes.feature_dim), "pixels": (size, size, 3)}
    return _store(folder, "features", shapes.feature_rows, arrays, shapes)


def captions(folder: Path, shapes: Shapes) -> Store:
    """Token states of captions that are as long as can be, for the rows of `latents`."""
    arrays = {"states": (shapes.tokens, shapes.text_dim), "length": (1,), "pooled": (shapes.text_dim,)}
    empty = {name: _text(np.zeros(shapes.text_dim)) for name in ("states", "pooled")}
    return _store(folder, "text", shapes.latent_rows, arrays, shapes, {"empty_caption": empty})


def _store(
    folder: Path,
    kind: str,
    rows: int,
    arrays: dict[str, tuple[int, ...]],
    shapes: Shapes,
    attributes: dict[str, object] | None = None,
) -> Store:
    specs = [ArraySpec(name, shape, _dtype(name)) for name, shape in arrays.items()]
    index = new_index([f"{row:08d}" for row in range(rows)], label=[row % shapes.classes for row in range(rows)])
    writer = StoreWriter.create(
        folder, kind, "bench", specs, index, {}, attributes=attributes or {}, permute=False, rows_per_shard=256
    )
    for shard in writer.missing_shards():
        count = len(writer.shard_rows(shard))
        writer.write_shard(shard, {spec.name: _values(spec, count, shapes) for spec in specs})
    return writer.finalize()


def _dtype(name: str) -> str:
    return "uint8" if name in ("pixels", "length") else "float16"


def _values(spec: ArraySpec, count: int, shapes: Shapes) -> np.ndarray:
    shape, draws = (count, 1, *spec.row_shape), np.random.default_rng(0)
    if spec.name == "length":
        return np.full(shape, shapes.tokens, np.uint8)
    if spec.dtype == "uint8":
        return draws.integers(0, 256, shape, np.uint8)
    return draws.standard_normal(shape, np.float32).astype(np.float16)


def _text(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()
