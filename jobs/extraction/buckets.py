"""Buckets: image sizes of about one area and different aspects, and the one in which an image loses least."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.config import height_width
from stores import StoreError
from stores.backends import replace_file
from stores.sources import Source, SourceError

Shape = tuple[int, int]
MOST_BUCKETS, MOST_ASPECT, READ_ROWS = 256, 100, 1024
UNREADABLE = (0, 0)
_KEYS = ("area", "step", "max_aspect")
EXAMPLE = "area=256x256, step=64, max_aspect=2"


@dataclass(frozen=True)
class BucketRule:
    """Which sizes there are: multiples of `step` of at most `area` pixels and an aspect of at most `max_aspect`."""

    area: int
    step: int
    max_aspect: float

    @classmethod
    def parse(cls, text: str) -> "BucketRule":
        """A rule such as `area=256x256, step=64, max_aspect=2`.

        Raises:
            ValueError: another text, or numbers that leave no bucket or more than 256.
        """
        parts = [part.partition("=") for part in text.split(",")]
        values = {key.strip(): value.strip() for key, _, value in parts}
        if sorted(values) != sorted(_KEYS) or len(parts) != len(_KEYS):
            raise ValueError(f"extract.buckets: expected such as {EXAMPLE}; received {text!r}")
        try:
            height, width = height_width(values["area"])
            rule = cls(height * width, int(values["step"]), float(values["max_aspect"]))
        except ValueError as error:
            raise ValueError(f"extract.buckets: expected such as {EXAMPLE}; received {text!r}; {error}") from None
        if rule.step < 1 or not 1 <= rule.max_aspect <= MOST_ASPECT or not 1 <= len(rule.shapes()) <= MOST_BUCKETS:
            raise ValueError(
                f"extract.buckets: expected a step of at least 1 and an aspect from 1 to {MOST_ASPECT} that give 1 to "
                f"{MOST_BUCKETS} sizes; received {text!r}"
            )
        return rule

    def shapes(self) -> list[Shape]:
        """(height, width) of every bucket, the widest first: those allowed that lie in no other."""
        found: list[Shape] = []
        widest = math.isqrt(int(self.area * self.max_aspect)) // self.step * self.step
        for width in range(widest, 0, -self.step):
            height = int(min(self.area / width, width * self.max_aspect)) // self.step * self.step
            if width <= height * self.max_aspect and (not found or height > found[-1][0]):
                found.append((height, width))
        return found


def kept_share(image: Shape, bucket: Shape) -> float:
    """The share of an image (height, width) that is left when it is cut to the aspect of a bucket."""
    ratio = (image[1] * bucket[0]) / (image[0] * bucket[1])
    return min(ratio, 1 / ratio)


def assign(images: Sequence[Shape], buckets: Sequence[Shape]) -> np.ndarray:
    """The number of the bucket, int64 (N,), in which each image keeps most; of equal ones the larger, then the first.

    Images without a size go where most others are: there the encoder's worker says what is wrong with them.
    """
    sizes = np.array(images, np.float64).reshape(-1, 2)
    shapes = np.array(buckets, np.float64)
    readable = (sizes > 0).all(axis=1)
    aspect = sizes[:, 1] / np.where(readable, sizes[:, 0], 1)
    ratio = np.where(readable, aspect, 1)[:, None] / (shapes[:, 1] / shapes[:, 0])  # (N, buckets)
    kept = np.minimum(ratio, 1 / ratio)
    best = kept >= kept.max(axis=1, keepdims=True) * (1 - 1e-9)
    found = np.where(best, shapes.prod(axis=1), -1).argmax(axis=1)
    counts = np.bincount(found[readable], minlength=len(shapes))
    return np.where(readable, found, counts.argmax()).astype(np.int64)


def crop_box(image: Shape, bucket: Shape) -> tuple[float, float, float, float]:
    """(top, left, height, width) of what a bucket shows of an image, in pixels of the original."""
    scale = max(bucket[0] / image[0], bucket[1] / image[1])
    height, width = bucket[0] / scale, bucket[1] / scale
    return (image[0] - height) / 2, (image[1] - width) / 2, height, width


def image_shapes(source: Source, table: pa.Table, cache: Path) -> list[Shape]:
    """(height, width) of each image of a scan as it is decoded, (0, 0) of what is none; `cache` keeps them."""
    known = _cached(cache)
    digests = table["sha256"].to_pylist()
    missing = [row for row, digest in enumerate(digests) if digest not in known]
    places = table.select(["source", "offset", "num_bytes"]).take(pa.array(missing, pa.int64())).to_pylist()
    with ThreadPoolExecutor(4) as threads:
        for start in range(0, len(missing), READ_ROWS):
            part = slice(start, start + READ_ROWS)
            found = threads.map(lambda place: _shape_of(source, place), places[part])
            known |= {digests[row]: shape for row, shape in zip(missing[part], found, strict=True)}
    if missing:
        _keep(cache, known)
    return [known[digest] for digest in digests]


def _shape_of(source: Source, place: dict[str, Any]) -> Shape:
    from fae.images import ImageError, upright_size

    try:
        return upright_size(source.read(place["source"], place["offset"], place["num_bytes"]))
    except (ImageError, SourceError, StoreError, OSError):
        return UNREADABLE


def _cached(file: Path) -> dict[str, Shape]:
    try:
        table = pq.read_table(file, columns=["sha256", "height", "width"])
    except (OSError, pa.ArrowInvalid, KeyError):
        return {}
    columns = (table[name].to_pylist() for name in ("sha256", "height", "width"))
    return {digest: (height, width) for digest, height, width in zip(*columns, strict=True)}


def _keep(file: Path, known: dict[str, Shape]) -> None:
    heights, widths = zip(*known.values(), strict=True)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"sha256": list(known), "height": heights, "width": widths}), sink)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, sink.getvalue().to_pybytes())
