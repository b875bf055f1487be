"""The rows of an export, cut into pieces of a file each, and what the formats share."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stores.backends import replace_file
from stores.core import Store
from stores.format import ArraySpec, index_to_bytes

Progress = Callable[[int, int], None]
INDEX_FILE, ORIGIN_FILE = "index.parquet", "store.json"


@dataclass(frozen=True)
class Piece:
    """Rows that go into one file: their index lines, and values (n, views, *row_shape) in the decoded dtype."""

    number: int
    lines: pa.Table
    values: np.ndarray


def npy_bytes(values: np.ndarray) -> bytes:
    """The values as a .npy file."""
    sink = io.BytesIO()
    np.save(sink, values, allow_pickle=False)
    return sink.getvalue()


@dataclass(frozen=True)
class Item:
    """How the values (views, *row_shape) of a row become a file: its extension and its bytes."""

    extension: str
    encode: Callable[[np.ndarray], bytes]


class Pieces:
    """The rows of an array cut into pieces of a file each; iterating reads them."""

    def __init__(
        self, store: Store, spec: ArraySpec, rows: np.ndarray, step: int, progress: Progress | None, item: Item
    ) -> None:
        self.store, self.spec, self.rows, self.step, self.progress = store, spec, rows, step, progress
        self.item = item

    def __iter__(self) -> Iterator[Piece]:
        for number, start in enumerate(range(0, len(self.rows), self.step)):
            rows = self.rows[start : start + self.step]
            views = [self.store.read(self.spec.name, rows, view) for view in range(self.store.views)]
            yield Piece(number, self.store.index.take(pa.array(rows)), np.stack(views, axis=1))
            if self.progress is not None:
                self.progress(start + len(rows), len(self.rows))

    def of_split(self, split: str) -> "Pieces":
        """The same, of one split."""
        rows = np.intersect1d(self.rows, self.store.rows(split))
        return Pieces(self.store, self.spec, rows, self.step, self.progress, self.item)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.step)

    @property
    def holds_moments(self) -> bool:
        """Whether the values are means, then log variances, as channels."""
        return self.store.manifest.holds_moments(self.spec.name)

    def write_index(self, folder: Path) -> Path:
        """The index lines of the rows, as index.parquet."""
        path = folder / INDEX_FILE
        replace_file(path, index_to_bytes(self.store.index.take(pa.array(self.rows))))
        return path

    def write_origin(self, folder: Path) -> Iterator[Path]:
        """What the latents of a latent store are, for who imports them, as store.json."""
        store, path = self.store, folder / ORIGIN_FILE
        if store.kind != "latents":
            return
        made_by = {name: store.manifest.ingredients.get(name) for name in ("autoencoder_sha256", "features_content_id")}
        meaning: dict[str, Any] = {name: store.attributes.get(name) for name in ("latents", "class_names")}
        origin = {"store": store.name, "content_id": store.content_id, **meaning, **made_by}
        replace_file(path, json.dumps(origin, indent=1, ensure_ascii=False).encode())
        yield path
