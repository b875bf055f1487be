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

from jobs.config import AUTO_GRID, TOKEN_PIXELS, ExtractConfig, height_width
from stores.backends import replace_file
from stores.sources import NO_BYTES, Source

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
        wrong = [f"no {key}" for key in _KEYS if key not in values] + sorted(values.keys() - {*_KEYS})
        if wrong or len(parts) != len(_KEYS):
            what = ", ".join(wrong) or "a key twice"
            raise ValueError(f"extract.buckets: expected such as {EXAMPLE}; received {text!r}: {what}")
        try:
            height, width = height_width(values["area"])
            rule = cls(height * width, int(values["step"]), float(values["max_aspect"]))
        except ValueError as error:
            raise ValueError(f"extract.buckets: expected such as {EXAMPLE}; received {text!r}; {error}") from None
        if rule.step < 1:
            raise ValueError(f"extract.buckets: expected a step of at least 1; received {rule.step}")
        if not 1 <= rule.max_aspect <= MOST_ASPECT:
            raise ValueError(
                f"extract.buckets: expected a max_aspect from 1 to {MOST_ASPECT}; received {rule.max_aspect:g}"
            )
        if not 1 <= (count := len(rule.shapes())) <= MOST_BUCKETS:
            raise ValueError(
                f"extract.buckets: expected 1 to {MOST_BUCKETS} sizes; {text!r} gives {count}; choose another step"
            )
        return rule

    @property
    def text(self) -> str:
        """The rule in one spelling, whatever a person's was."""
        return f"area {self.area}, step {self.step}, max_aspect {self.max_aspect:g}"

    def shapes(self) -> list[Shape]:
        """(height, width) of every bucket, the widest first: those allowed that lie in no other."""
        found: list[Shape] = []
        widest = math.isqrt(int(self.area * self.max_aspect)) // self.step * self.step
        for width in range(widest, 0, -self.step):
            height = int(min(self.area / width, width * self.max_aspect)) // self.step * self.step
            if width <= height * self.max_aspect and (not found or height > found[-1][0]):
                found.append((height, width))
        return found


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
    """(height, width) of each image of a scan as it is decoded, (0, 0) of what is none; `cache` keeps them.

    Raises:
        SourceError, StoreError, OSError: a host that cannot read an image now, which says nothing of the image.
    """
    known = _cached(cache)
    digests = table["sha256"].to_pylist()
    missing = [row for row, digest in enumerate(digests) if digest not in known]
    places = table.select(["source", "offset", "num_bytes", "sha256"]).take(pa.array(missing, pa.int64())).to_pylist()
    with ThreadPoolExecutor(4) as threads:
        for start in range(0, len(missing), READ_ROWS):
            part = slice(start, start + READ_ROWS)
            found = threads.map(lambda place: _shape_of(source, place), places[part])
            known |= {digests[row]: shape for row, shape in zip(missing[part], found, strict=True)}
    if missing:
        _keep(cache, known)
    return [known[digest] for digest in digests]


def bucket_rule(config: ExtractConfig) -> BucketRule:
    """The rule of the settings, which leave the sizes to it.

    Raises:
        ValueError: which setting does not fit.
    """
    assert config.buckets is not None
    rule = BucketRule.parse(config.buckets)
    if config.image_size != ExtractConfig.image_size:
        raise ValueError(
            f"extract.image_size: expected none with buckets, which decide it; received {config.image_size}"
        )
    if config.input_size is not None:
        raise ValueError(
            f"extract.input_size: expected none with buckets, which decide it; received {config.input_size}"
        )
    if config.grid not in (None, AUTO_GRID):
        raise ValueError(f"extract.grid: expected {AUTO_GRID} with buckets; received {config.grid}")
    if config.dtype == "auto":
        raise ValueError(
            "extract.dtype: expected a number format with buckets, whose stores have one; received auto, which is for "
            "one store; choose one of the others"
        )
    if rule.step % TOKEN_PIXELS:
        raise ValueError(
            f"extract.buckets: expected a step that is a multiple of {TOKEN_PIXELS}, the pixels of a token; received "
            f"{rule.step}"
        )
    return rule


def _shape_of(source: Source, place: dict[str, Any]) -> Shape:
    from fae.images import ImageError, upright_size

    if place["sha256"] in (None, "", NO_BYTES.sha256.hex()):  # the scan could not read it either
        return UNREADABLE
    try:
        return upright_size(source.read(place["source"], place["offset"], place["num_bytes"]))
    except ImageError:
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
