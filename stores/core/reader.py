"""Reading a complete store: its rows, labels, values and exact statistics."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stores.backends import ByteStore, Location, local_folder, open_bytestore
from stores.core.blocks import Memory, new_memory, read_blocks
from stores.format import (
    COMPLETE,
    INDEX,
    MANIFEST,
    ArraySpec,
    CorruptStoreError,
    IncompleteStoreError,
    Manifest,
    Part,
    ShardFormat,
    Statistics,
    StoreNotFoundError,
    decode,
)
from stores.format import index as indexing


class Store:
    """A complete store; rows are numbered 0 to num_rows - 1, rejected ones included."""

    def __init__(self, blobs: ByteStore, manifest: Manifest) -> None:
        assert manifest.status == COMPLETE
        assert manifest.content_id is not None
        self.blobs, self.manifest = blobs, manifest
        self.kind, self.name, self.fingerprint = manifest.kind, manifest.name, manifest.fingerprint
        self.content_id: str = manifest.content_id
        self.attributes: dict[str, Any] = manifest.attributes
        self.arrays: dict[str, ArraySpec] = {spec.name: spec for spec in manifest.arrays}
        self.views, self.num_rows = manifest.views, manifest.num_rows

    def __repr__(self) -> str:
        return f"Store({self.blobs.url!r}, {self.kind}, {self.num_rows} rows, {self.views} views, {list(self.arrays)})"

    @property
    def path(self) -> Path:
        """The store's folder."""
        return local_folder(self.blobs)

    @property
    def url(self) -> str:
        """Where the store is, a path or a URL; `open_store` takes it."""
        return self.blobs.url

    @cached_property
    def index(self) -> pa.Table:
        """All columns of index.parquet, in stored order."""
        return self._read_index(None)

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (num_rows,) class of each row, -1 where there is none."""
        return np.asarray(self._facts["label"].fill_null(-1).to_numpy(), np.int64)

    def rows(self, split: str | None = None) -> np.ndarray:
        """int64 rows that are ok, ascending; of one split when asked.

        Raises:
            ValueError: an unknown split.
        """
        if split is not None and split not in indexing.SPLITS:
            raise ValueError(f"split: expected one of {indexing.SPLITS} or None; received {split!r}")
        return np.flatnonzero(self.ok if split is None else self.ok & self._is_split(split))

    def statistics(self, name: str) -> Statistics:
        """Exact per-channel mean and std of an array over all ok rows."""
        self._spec(name)
        assert self.manifest.statistics is not None
        return Statistics.from_json(self.manifest.statistics[name])

    def read(self, name: str, rows: Sequence[int] | np.ndarray, view: int = 0) -> np.ndarray:
        """Values (len(rows), *row_shape) of the rows in the given order; every record's checksum is compared.

        The stored dtype; float32 for bfloat16 and int8.

        Raises:
            KeyError: no such array.
            IndexError: a row or view that is not there.
            CorruptStoreError: a damaged or missing shard.
        """
        spec, rows = self._spec(name), np.asarray(rows, np.int64).reshape(-1)
        self._check_bounds(rows, view)
        records = rows * self.views + view
        return decode(spec, {part.name: self._read_part(part, records) for part in spec.parts})

    def format(self, part: Part) -> ShardFormat:
        """The geometry of a part's shard files."""
        return ShardFormat(part, self.views, self.manifest.rows_per_shard)

    def check_shard(self, part: Part, shard: int) -> str:
        """The key of a shard's file, after its size was found right.

        Raises:
            CorruptStoreError: the file is missing, or shorter or longer than it was written.
        """
        key = self.manifest.shard_key(part, shard)
        expected = self.format(part).num_bytes(len(self.manifest.shard_rows(shard)))
        try:
            found = self.blobs.size(key)
        except FileNotFoundError:
            found = 0
        if found != expected:
            raise CorruptStoreError(
                f"{self.blobs.url}/{key}: expected {expected} bytes; received {found}; repair the store"
            )
        return key

    def read_buffer(
        self, part: Part, records: np.ndarray, verify: bool = True, memory: Memory = new_memory
    ) -> tuple[np.ndarray, np.ndarray]:
        """Records (row * views + view, ascending) as raw bytes (m, stride), and the slot of each in them, int64 (n,).

        Raises:
            CorruptStoreError: a missing shard, one of the wrong size or, when `verify`, with other bytes than written.
        """
        form = self.format(part)
        keys = {int(shard): self.check_shard(part, int(shard)) for shard in np.unique(records // form.capacity)}
        return read_blocks(self.blobs, form, keys, records, verify, memory=memory)

    def read_stored(self, part: Part, rows: np.ndarray) -> np.ndarray:
        """A part as it is stored, all views: (len(rows), views, *row_shape); every checksum is compared."""
        records = (rows[:, None] * self.views + np.arange(self.views)).reshape(-1)  # (n, V) -> (n*V,)
        return self._read_part(part, records).reshape(len(rows), self.views, *part.row_shape)

    def _read_part(self, part: Part, records: np.ndarray) -> np.ndarray:
        distinct, back = np.unique(records, return_inverse=True)
        buffer, slots = self.read_buffer(part, distinct)
        return self.format(part).values(buffer[slots[back]])

    @cached_property
    def ok(self) -> np.ndarray:
        """The rows that were not rejected, as a mask bool (num_rows,)."""
        return self._equals("status", indexing.OK)

    def _is_split(self, split: str) -> np.ndarray:
        return self._equals("split", split)

    def _equals(self, column: str, value: str) -> np.ndarray:
        values = self._facts[column].combine_chunks()
        names = values.dictionary.to_pylist()
        mask: np.ndarray = values.indices.to_numpy() == (names.index(value) if value in names else -1)
        return mask

    @cached_property
    def _facts(self) -> pa.Table:
        """The small columns, all that the loader needs; keys and captions of many rows are large."""
        table = self._read_index(["label", "split", "status"])
        return pa.table(
            {"label": table["label"], **{name: table[name].dictionary_encode() for name in table.column_names[1:]}}
        )

    def index_bytes(self) -> bytes:
        """The file index.parquet, after its digest was compared.

        Raises:
            CorruptStoreError: it is missing or damaged.
        """
        try:
            data = self.blobs.read(INDEX)
        except FileNotFoundError as error:
            raise self._damaged_index("the file; it is missing") from error
        if hashlib.sha256(data).hexdigest() != self.manifest.index_file_sha256:
            raise self._damaged_index("the digest that the manifest holds; received other bytes")
        return data

    def _read_index(self, columns: list[str] | None) -> pa.Table:
        return indexing.index_from_bytes(self.index_bytes(), self.blobs.url, self.num_rows, columns)

    def _damaged_index(self, expected: str) -> CorruptStoreError:
        return CorruptStoreError(f"{self.blobs.url}/{INDEX}: expected {expected}; repair the store")

    def _spec(self, name: str) -> ArraySpec:
        return self.manifest.array(name)

    def _check_bounds(self, rows: np.ndarray, view: int) -> None:
        outside = rows[(rows < 0) | (rows >= self.num_rows)]
        if len(outside):
            raise IndexError(f"{self.blobs.url}: expected rows below {self.num_rows}; received {outside[0]}")
        if not 0 <= view < self.views:
            raise IndexError(f"{self.blobs.url}: expected a view below {self.views}; received {view}")


def open_store(location: Location) -> Store:
    """Open a complete store by its folder or URL.

    Raises:
        StoreNotFoundError, IncompleteStoreError, ForeignStoreError, CorruptStoreError: what is wrong, and what to run.
    """
    blobs = open_bytestore(location)
    manifest = read_manifest(blobs)
    if manifest.status != COMPLETE:
        raise IncompleteStoreError(
            f"{blobs.url}: expected a complete store; it is unfinished: run the command that writes it again"
        )
    return Store(blobs, manifest)


def read_manifest(blobs: ByteStore) -> Manifest:
    """The checked manifest of a store.

    Raises:
        StoreNotFoundError: there is none.
    """
    try:
        data = blobs.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreNotFoundError(f"{blobs.url}: expected a store; received no {MANIFEST}") from error
    return Manifest.from_bytes(data, blobs.url)
