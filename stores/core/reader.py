"""Reading a complete store: its rows, labels, values and exact statistics."""

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from stores.backends import ByteStore, DiskCache, Location, inside, local_folder, open_bytestore
from stores.core.blocks import Memory, copy_records, new_memory, read_blocks, record_groups
from stores.core.cached_shards import CachedShards, uncached
from stores.core.finish import read_record
from stores.core.listing import read_manifest
from stores.core.rows import StoreRows, row_numbers
from stores.core.sequences import read_sequences
from stores.format import (
    ADDED,
    COMPLETE,
    AddedArray,
    ArraySpec,
    CorruptStoreError,
    ForeignStoreError,
    IncompleteStoreError,
    Manifest,
    Part,
    Parts,
    RaggedArray,
    ShardFormat,
    Statistics,
    added_arrays,
    commit_key,
    decode,
    positions_in,
)

DEFAULT_CACHE_BYTES = 100 << 30
# What is held beside a result: records that are read at a time, with the gaps between them.
GROUP_BYTES = 8 << 20


class Store(StoreRows):
    """A complete store; rows are numbered 0 to num_rows - 1, rejected ones included."""

    def __init__(self, blobs: ByteStore, manifest: Manifest, cache: DiskCache | None = None) -> None:
        assert manifest.content_id is not None
        super().__init__(blobs if cache is None else CachedShards(blobs, manifest, cache), manifest)
        self.cache = cache
        self.kind, self.name, self.fingerprint = manifest.kind, manifest.name, manifest.fingerprint
        self.content_id: str = manifest.content_id
        self.attributes: dict[str, Any] = manifest.attributes
        self.added = added_arrays(manifest, blobs.url)
        added = {name: one.spec for name, one in self.added.items()}
        self.arrays: dict[str, ArraySpec] = {spec.name: spec for spec in manifest.arrays} | added
        self._added_parts = {part.name: name for name, spec in added.items() for part in spec.parts}
        self._opened: dict[str, Store] = {}
        self.views = manifest.views
        self._file_sizes: dict[int, dict[str, int]] = {}

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

    def cached(self, cache: DiskCache) -> "Store":
        """The same store read through copies of its shards in `cache`."""
        return Store(uncached(self.blobs), self.manifest, cache)

    def statistics(self, name: str) -> Statistics:
        """Exact per-channel mean and std of an array over all ok rows."""
        if name in self.added:
            return self.added_store(name).statistics(name)
        self._spec(name)
        assert self.manifest.statistics is not None
        return Statistics.from_json(self.manifest.statistics[name])

    def content_id_of(self, name: str) -> str:
        """The content id of an array's values: that of the store, or an added array's own."""
        return self.added[name].content_id if name in self.added else self.content_id

    def read(self, name: str, rows: Sequence[int] | np.ndarray, view: int = 0) -> np.ndarray:
        """Values (len(rows), *row_shape) of the rows in the given order; every record's checksum is compared.

        The stored dtype; float32 for bfloat16 and 8 bits. Sequences of a ragged array are filled up with zeros.

        Raises:
            KeyError: no such array.
            IndexError: a row or view that is not there.
            TypeError: a mask or fractions in place of row numbers.
            CorruptStoreError: a damaged or missing shard.
        """
        spec = self._spec(name)
        if spec.is_ragged:
            return self.read_ragged(name, rows, view).padded(spec.row_shape[0])
        records = self._records(rows, view)
        return decode(spec, {part.name: self.read_records(part, records) for part in spec.parts})

    def read_ragged(self, name: str, rows: Sequence[int] | np.ndarray, view: int = 0) -> RaggedArray:
        """The sequences of a ragged array end to end, with spans (len(rows), 2); dtype and errors as of `read`.

        Raises:
            ValueError: the array is not ragged.
        """
        spec = self._spec(name)
        if not spec.is_ragged:
            raise ValueError(f"{name}: expected a ragged array; received one of {spec.row_shape}; read it with read()")
        parts = read_sequences(self, spec, self._records(rows, view))
        found = RaggedArray(np.empty(0), parts[spec.spans])
        order = positions_in(found.spans)
        values = decode(spec, {part.name: parts[part.name][order] for part in spec.token_parts})
        spans = RaggedArray.from_lengths(values, found.lengths).spans
        return RaggedArray(values, np.where(found.spans < 0, found.spans, spans))

    def format(self, part: Part) -> ShardFormat:
        """The geometry of a part's shard files."""
        if part.name in self._added_parts:
            return self._holder(part).format(part)
        return self.manifest.shard_format(part)

    def check_shard(self, part: Part, shard: int) -> str:
        """The key of a shard's file, after its size was found right.

        Raises:
            CorruptStoreError: the file is missing, or shorter or longer than it was written.
        """
        if part.name in self._added_parts:
            return self._holder(part).check_shard(part, shard)
        self._count_records(part, shard)
        return self.manifest.shard_key(part, shard)

    def _count_records(self, part: Part, shard: int) -> int:
        """Records of a shard's file; the same errors as `check_shard`."""
        key, form, rows = self.manifest.shard_key(part, shard), self.format(part), len(self.manifest.shard_rows(shard))
        expected = form.num_bytes(rows * self.views)
        if part.tokens_per_chunk is not None:
            expected = self._committed_bytes(shard)[part.name]
        try:
            found = self.blobs.size(key)
        except FileNotFoundError:
            found = 0
        count = form.num_records(rows, found)
        if found != expected or count is None:
            raise CorruptStoreError(
                f"{self.blobs.url}/{key}: expected {expected} bytes; received {found}; repair the store"
            )
        return count

    def _committed_bytes(self, shard: int) -> dict[str, int]:
        """The size of each file of a shard, by part: how many tokens there are, its commit record alone says."""
        if shard not in self._file_sizes:
            try:
                record = read_record(self.blobs, self.manifest, shard)
            except FileNotFoundError as error:
                raise CorruptStoreError(
                    f"{self.blobs.url}/{commit_key(shard)}: expected the file; it is missing; repair the store"
                ) from error
            self._file_sizes[shard] = {name: file.num_bytes for name, file in record.files.items()}
        return self._file_sizes[shard]

    def read_buffer(
        self, part: Part, records: np.ndarray, verify: bool = True, memory: Memory = new_memory
    ) -> tuple[np.ndarray, np.ndarray]:
        """Records (row * views + view, ascending) as raw bytes (m, stride), and the slot of each in them, int64 (n,).

        Raises:
            CorruptStoreError: a missing shard, one of the wrong size or, when `verify`, with other bytes than written.
        """
        if part.name in self._added_parts:
            return self._holder(part).read_buffer(part, records, verify, memory)
        form = self.format(part)
        shards, ends = np.unique(records[::-1] // form.capacity, return_index=True)
        last = dict(zip(shards.tolist(), (records[::-1][ends] % form.capacity).tolist(), strict=True))
        keys = {shard: self._key_of(part, shard, record) for shard, record in last.items()}
        self.blobs.prepare(keys.values())
        return read_blocks(self.blobs, form, keys, records, verify, memory=memory)

    def _key_of(self, part: Part, shard: int, record: int) -> str:
        """The key of a shard's file that holds the record of this number."""
        key = self.check_shard(part, shard)
        if part.tokens_per_chunk is not None and record >= (count := self._count_records(part, shard)):
            raise CorruptStoreError(
                f"{self.blobs.url}/{key}: expected more than {record} chunks; received {count}; repair the store"
            )
        return key

    def added_store(self, name: str) -> "Store":
        """The store inside this one that holds an added array.

        Raises:
            StoreError: it is missing, unfinished, or not the one that was added.
        """
        if name not in self._opened:
            self._opened[name] = _open_added(self, self.added[name])
        return self._opened[name]

    def _holder(self, part: Part) -> "Store":
        return self.added_store(self._added_parts[part.name])

    def read_stored(self, spec: ArraySpec, rows: np.ndarray) -> Parts:
        """An array's parts as they are stored, all views; every checksum is compared.

        (len(rows), views, *row_shape); of a ragged array tokens (tokens, ...) and spans (len(rows), views, 2) in them.
        """
        records = (rows[:, None] * self.views + np.arange(self.views)).reshape(-1)  # (n, V) -> (n*V,)
        by_row = (len(rows), self.views)
        if spec.is_ragged:
            found = read_sequences(self, spec, records)
            return {**found, spec.spans: found[spec.spans].reshape(*by_row, 2)}
        return {part.name: self.read_records(part, records).reshape(*by_row, *part.row_shape) for part in spec.parts}

    def read_shard(self, part: Part, shard: int) -> np.ndarray:
        """All that a shard's file of a part holds, as the Zarr array has it; every checksum is compared."""
        form = self.format(part)
        records = shard * form.capacity + np.arange(self._count_records(part, shard))
        return form.in_zarr(self.read_records(part, records))

    def read_records(self, part: Part, records: np.ndarray, verify: bool = True) -> np.ndarray:
        """(n, *record_shape): records of a part as stored, in any order; little is held beside the result."""
        form, order = self.format(part), np.argsort(records, kind="stable")
        found = np.empty((len(records), *part.record_shape), part.numpy_dtype)
        for group in record_groups(records[order], form, GROUP_BYTES):
            chosen = order[group]
            distinct, back = np.unique(records[chosen], return_inverse=True)
            buffer, slots = self.read_buffer(part, distinct, verify)
            copy_records(form.bodies(buffer), slots[back], form.records(found), chosen)
            del buffer  # before the next one is read
        return found

    def _records(self, rows: Sequence[int] | np.ndarray, view: int) -> np.ndarray:
        """int64 record numbers of rows, after their bounds were checked."""
        numbers = row_numbers(rows).reshape(-1)
        self._check_bounds(numbers, view)
        return numbers * self.views + view

    def _spec(self, name: str) -> ArraySpec:
        return self.arrays[name] if name in self.added else self.manifest.array(name)

    def _check_bounds(self, rows: np.ndarray, view: int) -> None:
        outside = rows[(rows < 0) | (rows >= self.num_rows)]
        if len(outside):
            raise IndexError(f"{self.blobs.url}: expected rows below {self.num_rows}; received {outside[0]}")
        if not isinstance(view, Integral) or not 0 <= view < self.views:
            raise IndexError(f"{self.blobs.url}: expected a view below {self.views}; received {view}")


def open_store(
    location: Location, cache_dir: Path | str | None = None, cache_bytes: int = DEFAULT_CACHE_BYTES
) -> Store:
    """Open a complete store by its folder or URL.

    Args:
        location: the folder or URL.
        cache_dir: a folder of this machine for copies of the shards of a store at a URL; whole shards are fetched when
            they are first read, and compared with their digests. Processes may share it, and it may outlive them.
        cache_bytes: how much the copies may take; those that were not used for longest give way.

    Raises:
        StoreNotFoundError, IncompleteStoreError, ForeignStoreError, CorruptStoreError: what is wrong, and what to run.
        ValueError: the cache has no room for a shard.
    """
    return with_cache(_open(location), cache_dir, cache_bytes)


def with_cache(store: Store, cache_dir: Path | str | None, cache_bytes: int = DEFAULT_CACHE_BYTES) -> Store:
    """The same store read through copies of its shards, see `open_store`; itself where it is a folder."""
    if cache_dir is None or store.blobs.local_path() is not None:
        return store
    return store.cached(DiskCache(Path(cache_dir).absolute(), cache_bytes))


def _open(location: Location) -> Store:
    blobs = open_bytestore(location)
    manifest = read_manifest(blobs)
    if manifest.status != COMPLETE:
        raise IncompleteStoreError(
            f"{blobs.url}: expected a complete store; it is unfinished: run the command that writes it again"
        )
    return Store(blobs, manifest)


def _open_added(store: Store, array: AddedArray) -> Store:
    found = _open(inside(inside(store.url, ADDED), array.folder))
    same = (array.fingerprint, array.content_id, store.num_rows, store.views, (array.spec,))
    manifest = found.manifest
    if (found.fingerprint, found.content_id, found.num_rows, found.views, manifest.arrays) != same:
        raise ForeignStoreError(
            f"{found.url}: expected the array {array.fingerprint[:12]} with the content {array.content_id[:12]} and "
            f"the rows of {store.url}; received {found.fingerprint[:12]}, {found.content_id[:12]}; add it again"
        )
    return found if store.cache is None else Store(found.blobs, manifest, store.cache)
