"""Sets of images in batches, whatever holds them: files of any kind, a store, or a .npz."""

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fae.images import ImageError, decode_image, image_size
from fae.weights import weights_file
from jobs.config import Size, height_width, parse_size
from jobs.extraction import Decoders, Decoding
from stores import Store
from stores.exchange import npz_arrays, npz_parts
from stores.sources import Source, SourceError, scan

CROP = "ADM center crop"
DECODE_SECONDS = 60.0
BATCHES_AHEAD = 3  # decoded while the networks look at one


@dataclass(frozen=True)
class Batch:
    """Images uint8 (n, S, S, 3), each one's number in a random order of the set (n,), and what they rebuild."""

    pixels: np.ndarray
    numbers: np.ndarray
    originals: np.ndarray | None = None


class ImageSet(Protocol):
    """Images of one size, in batches."""

    @property
    def size(self) -> Size:
        """Pixels: a side, or HEIGHTxWIDTH."""
        ...

    @property
    def total(self) -> int:
        """Images that there should be."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the pixels, as JSON values."""
        ...

    @property
    def rejected(self) -> dict[str, str]:
        """Key and reason of each image that could not be read, once it was tried."""
        ...

    def batches(self, rows: int) -> Iterator[Batch]:
        """Yield every readable image once, up to `rows` at a time, in the order that is quickest to read."""
        ...


def stored_size(shape: tuple[int, ...], dtype: Any, where: str) -> Size:
    """H and W of images uint8 (N, H, W, 3).

    Raises:
        ValueError: other arrays; `where` names them.
    """
    if len(shape) != 4 or shape[3] != 3 or str(dtype) != "uint8":
        raise ValueError(f"{where}: expected images uint8 (N, H, W, 3); received {dtype} {shape}")
    return parse_size(f"{shape[1]}x{shape[2]}")


@dataclass(frozen=True)
class StoreImages:
    """The first `count` images of a store's rows (of one split), as they lie in its array `pixels`.

    Rows of extracted stores are in a random order already; samples of one seed each are as good as that.
    """

    store: Store
    split: str | None = None
    count: int | None = None
    rejected: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "pixels" not in self.store.arrays:
            raise ValueError(
                f"{self.store.url}: expected a store with images; received {', '.join(self.store.arrays)}; "
                "name a store of samples, or one made by `fae-pipe extract --pixels`"
            )
        require_images(len(self.rows), f"{self.store.url}, split {self.split or 'any'}")

    @property
    def rows(self) -> np.ndarray:
        """The rows of these images in the store."""
        return self.store.rows(self.split)[: self.count]

    @property
    def size(self) -> Size:
        """Pixels: a side, or HEIGHTxWIDTH."""
        spec = self.store.arrays["pixels"]
        return stored_size((self.total, *spec.row_shape), spec.dtype, f"{self.store.url}: pixels")

    @property
    def total(self) -> int:
        """Images that there should be."""
        return len(self.rows)

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the pixels, as JSON values."""
        return {
            "kind": f"store of {self.store.kind}",
            "content_id": self.store.content_id,
            "split": self.split,
            "count": self.total,
            "size": self.size,
            "crop": CROP if self.store.kind == "features" else None,
        }

    def batches(self, rows: int) -> Iterator[Batch]:
        """Yield every readable image once; see `ImageSet`."""
        chosen = self.rows
        for start in range(0, len(chosen), rows):
            part = chosen[start : start + rows]
            yield Batch(self.store.read("pixels", part), np.arange(start, start + len(part)))


@dataclass(frozen=True)
class NpzImages:
    """The first `count` images of `arr_0` in a .npz, as ADM's evaluation suite keeps samples."""

    path: Path
    count: int | None = None
    rejected: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> Size:
        """Pixels: a side, or HEIGHTxWIDTH."""
        array = npz_arrays(self.path)["arr_0"]
        return stored_size(array.shape, array.dtype, f"{self.path}: arr_0")

    @property
    def total(self) -> int:
        """Images that there should be."""
        held = npz_arrays(self.path)["arr_0"].shape[0]
        return held if self.count is None else min(held, self.count)

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the pixels, as JSON values."""
        digest = weights_file(self.path).sha256
        return {"kind": "npz", "sha256": digest, "count": self.total, "size": self.size, "crop": None}

    def batches(self, rows: int) -> Iterator[Batch]:
        """Yield every readable image once; see `ImageSet`."""
        start = 0
        for part in npz_parts(self.path, "arr_0", rows):
            part = part[: self.total - start]
            if len(part):
                yield Batch(part, np.arange(start, start + len(part)))
            start += len(part)


@dataclass(frozen=True)
class FileImages:
    """Image files, decoded by threads and cropped to `size`; `table` has the columns of a scan, sorted by key.

    Images are numbered by their sha256, which is as good as a random order, and read as they lie on the disk.
    """

    source: Source
    table: pa.Table
    split: str | None
    size: Size
    threads: int = 2
    rejected: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Images that there should be."""
        return int(self.table.num_rows)

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the pixels, as JSON values."""
        digest = hashlib.sha256("\n".join(sorted(self.table["sha256"].to_pylist())).encode()).hexdigest()
        return {
            "kind": "files",
            "images_sha256": digest,
            "split": self.split,
            "count": self.total,
            "size": self.size,
            "crop": CROP,
        }

    def batches(self, rows: int) -> Iterator[Batch]:
        """Yield every readable image once; see `ImageSet`."""
        numbers = np.argsort(np.array(self.table["sha256"].to_pylist()), kind="stable").argsort()
        places = self.table.select(["key", "source", "offset", "num_bytes"]).to_pylist()
        order = sorted(range(len(places)), key=lambda k: (places[k]["source"], places[k]["offset"]))
        decoders, ahead = Decoders(max(2, self.threads), DECODE_SECONDS), deque[_Decoded]()
        for start in range(0, len(order), rows):
            part = order[start : start + rows]
            ahead.append(self._begin([places[k] for k in part], numbers[part], decoders))
            if len(ahead) > BATCHES_AHEAD:
                yield from self._finish(ahead.popleft(), decoders)
        for waiting in ahead:
            yield from self._finish(waiting, decoders)

    def _begin(self, places: list[dict[str, Any]], numbers: np.ndarray, decoders: Decoders) -> "_Decoded":
        pixels = np.zeros((len(places), *height_width(self.size), 3), np.uint8)
        return _Decoded(
            Batch(pixels, numbers),
            {place["key"]: self._start(pixels[k : k + 1], place, decoders) for k, place in enumerate(places)},
        )

    def _start(self, room: np.ndarray, place: dict[str, Any], decoders: Decoders) -> Decoding:
        def decode(data: bytes) -> None:
            room[0] = decode_image(data, height_width(self.size))

        return decoders.submit(lambda: self.source.read(place["source"], place["offset"], place["num_bytes"]), decode)

    def _finish(self, decoded: "_Decoded", decoders: Decoders) -> Iterator[Batch]:
        """Wait for a batch and yield its readable images, if there is any."""
        readable = np.ones(len(decoded.batch.numbers), bool)
        for place, (key, decoding) in enumerate(decoded.decodings.items()):
            try:
                decoders.wait(decoding)
            except (ImageError, SourceError, OSError) as error:
                self.rejected[key], readable[place] = str(error), False
        if readable.all():
            yield decoded.batch
        elif readable.any():
            yield Batch(decoded.batch.pixels[readable], decoded.batch.numbers[readable])


@dataclass(frozen=True)
class _Decoded:
    """A batch on its way, and the decoding of each of its images by key."""

    batch: Batch
    decodings: dict[str, Decoding]


def file_images(
    source: Source, *, size: Size | None, split: str | None, count: int | None, cache: Path, threads: int
) -> FileImages:
    """The images of a source: of one split, and of these the `count` with the smallest sha256.

    Without `size` they have that of the first readable one, its shorter side. `cache` is the file of known digests.

    Raises:
        ValueError: there is none of that split.
    """
    table = scan(source, threads=max(2, threads), cache=cache).table
    if split is not None:
        table = table.filter(pc.equal(table["split"], split))
    require_images(table.num_rows, f"{source.root}, split {split or 'any'}")
    if count is not None and count < table.num_rows:
        smallest = np.argsort(np.array(table["sha256"].to_pylist()), kind="stable")[:count]
        table = table.take(np.sort(smallest))
    return FileImages(source, table, split, size or _own_size(source, table), threads)


def require_images(count: int, where: str) -> None:
    """Raise ValueError when there are too few images to compare; `where` names the set."""
    if count < 2:
        raise ValueError(
            f"{where}: expected at least 2 images to evaluate; received {count}; choose another set or split"
        )


def _own_size(source: Source, table: pa.Table) -> int:
    for place in table.select(["source", "offset", "num_bytes"]).to_pylist():
        try:
            return min(image_size(source.read(place["source"], place["offset"], place["num_bytes"])))
        except (ImageError, SourceError):
            continue
    raise ValueError(f"{source.root}: expected images; none of {table.num_rows} can be read")
