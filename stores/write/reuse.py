"""Rows that a new store takes from older ones: which, in what order, and how they are read.

A row is the same when its image's bytes are and it was made with the same ingredients. The rows to copy are written to
`reuse.parquet` when the store is begun; workers read that file.
"""

import io
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from stores.backends import ByteStore, Location, check_key, inside, open_bytestore, sibling
from stores.core import Store, read_manifest, read_record
from stores.format import (
    COMPLETE,
    REUSE,
    CommitRecord,
    Manifest,
    Parts,
    Permutation,
    StoreError,
    column_numbers,
    commit_key,
    join_rows,
    take_rows,
    with_row_numbers,
)

REUSE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("store", pa.string(), nullable=False),
        pa.field("store_row", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class SiblingStore:
    """A store beside the planned one (its folder's name), finished or not."""

    folder: str
    manifest: Manifest


def sibling_stores(parent: Location) -> list[SiblingStore]:
    """Every store directly below `parent` whose manifest can be read."""
    found = []
    for folder in open_bytestore(parent).folders():
        try:
            found.append(SiblingStore(folder, read_manifest(open_bytestore(inside(parent, folder)))))
        except (StoreError, OSError, ValueError):
            continue  # No store, or a damaged one: nothing is reused from it.
    return found


def reusable_stores(parent: Location, stores: list[SiblingStore], planned: Manifest) -> list[tuple[str, Store]]:
    """Complete stores whose rows were made as the planned ones are: same encoder, arrays and views; largest first."""
    usable = [one for one in stores if one.manifest.status == COMPLETE and _makes_same_rows(one.manifest, planned)]
    usable.sort(key=lambda one: (-one.manifest.num_rows, one.folder))
    opened = [(one.folder, Store(open_bytestore(inside(parent, one.folder)), one.manifest)) for one in usable]
    return [(folder, store) for folder, store in opened if _has_index(store)]


def extended_order(table: pa.Table, base: pa.Table, seed: int) -> pa.Table | None:
    """The rows in the order of `base`, then the new ones in the seeded order; None when a row of `base` is missing.

    table: an index sorted by key. An image is the same when its bytes are; a key that fits as well goes first.
    """
    position = _match(table, base)
    if len(np.unique(position[position >= 0])) < base.num_rows:
        return None
    old = np.flatnonzero(position >= 0)
    new = np.flatnonzero(position < 0)
    new = new[Permutation(len(new), seed)(np.arange(len(new)))]
    order = np.concatenate([old[np.argsort(position[old], kind="stable")], new])
    return with_row_numbers(table.take(pa.array(order)))


def plan_reuse(table: pa.Table, stores: list[tuple[str, Store]]) -> pa.Table:
    """Which rows of an index can be copied, from which store and row (REUSE_SCHEMA); the first store that has one."""
    import pyarrow.compute as pc  # a fifth of a second, which listings do without

    store_number = np.full(table.num_rows, -1)
    store_row = np.full(table.num_rows, -1)
    for number, (_, store) in enumerate(stores):
        open_rows = np.flatnonzero(store_number < 0)
        rows = store.rows()
        digests = store.index["sha256"].take(pa.array(rows))
        matches = column_numbers(pc.index_in(table["sha256"].take(pa.array(open_rows)), digests))
        store_number[open_rows[matches >= 0]] = number
        store_row[open_rows[matches >= 0]] = rows[matches[matches >= 0]]
    rows = np.flatnonzero(store_number >= 0)
    names = pa.array([folder for folder, _ in stores], pa.string())
    columns = [pa.array(rows), names.take(pa.array(store_number[rows])), pa.array(store_row[rows])]
    return pa.table(columns, schema=REUSE_SCHEMA)


def _makes_same_rows(one: Manifest, planned: Manifest) -> bool:
    same = ("kind", "row_fingerprint", "arrays", "views")
    return all(getattr(one, name) == getattr(planned, name) for name in same)


def _has_index(store: Store) -> bool:
    try:
        return len(store.index) == store.num_rows
    except (StoreError, OSError):
        return False


def _match(table: pa.Table, base: pa.Table) -> np.ndarray:
    """int64: the row of `base` that holds each row's image, -1 for none; no row of `base` comes twice."""
    import pyarrow.compute as pc  # a fifth of a second, which listings do without

    named = column_numbers(pc.index_in(_key_and_digest(table), _key_and_digest(base)))
    left = np.setdiff1d(np.arange(base.num_rows), named)
    free: dict[str, list[int]] = defaultdict(list)
    for row, digest in zip(left[::-1].tolist(), base["sha256"].take(pa.array(left[::-1])).to_pylist(), strict=True):
        free[digest].append(row)
    unnamed = np.flatnonzero(named < 0)
    for at, digest in zip(unnamed.tolist(), table["sha256"].take(pa.array(unnamed)).to_pylist(), strict=True):
        if free.get(digest):
            named[at] = free[digest].pop()
    return named


def _key_and_digest(table: pa.Table) -> pa.ChunkedArray:
    import pyarrow.compute as pc  # a fifth of a second, which listings do without

    return pc.binary_join_element_wise(table["sha256"], table["key"], " ")


@dataclass(frozen=True)
class ReusedRows:
    """Rows of a shard that need no computing: `mask` bool (rows,), and their `parts` as `Store.read_stored` gives them.

    name -> (reused rows, views, *row_shape); there are none where no row is reused.
    """

    mask: np.ndarray
    parts: Parts

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values (rows to compute, ...) of a shard's other rows as (rows, ...); reused rows hold anything."""
        if not self.mask.any():
            return values
        spread = np.zeros((len(self.mask), *values.shape[1:]), values.dtype)
        spread[~self.mask] = values
        return spread


class ReuseReader:
    """Finds and reads the rows that reuse.parquet names; a store that is gone or damaged gives none."""

    def __init__(self, blobs: ByteStore, manifest: Manifest) -> None:
        self.blobs, self.manifest = blobs, manifest
        self._stores: dict[str, Store | None] = {}

    def rows(self, shard: int) -> ReusedRows:
        """The reused rows of a shard, every checksum compared."""
        rows = self.manifest.shard_rows(shard)
        found = []
        for folder, positions, store_rows in self._groups(rows):
            store = self._store(folder)
            if store is None:
                continue
            try:
                found.append((positions, [store.read_stored(spec, store_rows) for spec in self.manifest.arrays]))
            except (StoreError, OSError):
                continue  # Rows that cannot be read there are computed here.
        mask = np.zeros(len(rows), bool)
        if not found:
            return ReusedRows(mask, {})
        at = np.concatenate([positions for positions, _ in found])
        mask[at] = True
        parts: Parts = {}
        for number, spec in enumerate(self.manifest.arrays):
            parts |= take_rows(spec, join_rows(spec, [arrays[number] for _, arrays in found]), np.argsort(at))
        return ReusedRows(mask, parts)

    def covers(self, shard: int) -> bool:
        """Whether the plan says that every row of a shard is to be copied."""
        rows = self.manifest.shard_rows(shard)
        first, last = np.searchsorted(self._rows, [rows.start, rows.stop])
        return bool(last - first == len(rows))

    def copy_shard(self, shard: int) -> bool:
        """Copy a shard from the store whose shard of this number holds the same rows; False where there is none."""
        reusable = self._reusable_shard(shard)
        if reusable is None:
            return False
        store, record = reusable
        try:
            for part in self.manifest.parts:
                key = self.manifest.shard_key(part, shard)
                self.blobs.copy_from(store.blobs, store.manifest.shard_key(part, shard), key)
        except FileNotFoundError:
            return False  # That store was removed meanwhile.
        self.blobs.write(commit_key(shard), replace(record, fingerprint=self.manifest.fingerprint).to_bytes())
        return True

    def _reusable_shard(self, shard: int) -> tuple[Store, CommitRecord] | None:
        """The store whose shard of this number holds exactly these rows and no others, with its record, if any."""
        rows = self.manifest.shard_rows(shard)
        groups = self._groups(rows)
        store = self._store(groups[0][0]) if len(groups) == 1 else None
        if store is None or store.manifest.rows_per_shard != self.manifest.rows_per_shard:
            return None
        if not np.array_equal(groups[0][2], np.arange(rows.start, rows.stop)):
            return None
        try:
            if store.manifest.shard_rows(shard) != rows:
                return None
            for part in self.manifest.parts:
                store.check_shard(part, shard)
            record = read_record(store.blobs, store.manifest, shard)
        except (StoreError, OSError):
            return None
        return store, record

    def _groups(self, rows: range) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """(store's folder, positions in the shard, rows of that store) for the reused rows of a shard."""
        first, last = np.searchsorted(self._rows, [rows.start, rows.stop])
        table = self._table.slice(first, last - first)
        folders = np.array(table["store"].to_pylist(), object)
        positions = table["row"].to_numpy() - rows.start
        store_rows = table["store_row"].to_numpy()
        return [(str(name), positions[folders == name], store_rows[folders == name]) for name in sorted(set(folders))]

    def _store(self, folder: str) -> Store | None:
        if folder not in self._stores:
            self._stores[folder] = self._open(folder)
        return self._stores[folder]

    def _open(self, folder: str) -> Store | None:
        try:
            blobs = open_bytestore(sibling(self.blobs, check_key(folder)))
            manifest = read_manifest(blobs)
        except (StoreError, OSError, ValueError):
            return None
        return Store(blobs, manifest) if manifest.status == COMPLETE else None

    @cached_property
    def _table(self) -> pa.Table:
        import pyarrow.parquet as pq  # a fifth of a second, which listings do without

        try:
            table = pq.ParquetFile(pa.BufferReader(self.blobs.read(REUSE))).read(use_threads=False)
            # Stores of manifest schema 1 call the last column otherwise.
            return table.rename_columns(REUSE_SCHEMA.names).cast(REUSE_SCHEMA)
        except (FileNotFoundError, pa.ArrowException, ValueError):
            # Without the file, or with a damaged one, all rows are computed.
            return REUSE_SCHEMA.empty_table()

    @cached_property
    def _rows(self) -> np.ndarray:
        return np.asarray(self._table["row"].to_numpy())


def reuse_to_bytes(table: pa.Table) -> bytes:
    """The Parquet file of the rows to copy."""
    import pyarrow.parquet as pq  # a fifth of a second, which listings do without

    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
