"""Writing a store: plan it, commit shard after shard in any order and from any process, then finalize."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stores.backends import ByteStore, Location, local_folder, open_bytestore
from stores.core import Lease, Store, check_rejected, done_record, read_manifest, rejected_rows, write_finished
from stores.format import (
    COMPLETE,
    INDEX,
    LEASE,
    MANIFEST,
    REUSE,
    ArraySpec,
    CommitRecord,
    CorruptStoreError,
    ForeignStoreError,
    LeaseHeldError,
    Manifest,
    RaggedArray,
    commit_key,
)
from stores.format import index as indexing
from stores.write.reuse import ReusedRows, ReuseReader, reuse_to_bytes
from stores.write.shard_build import ShardBuild, zero_arrays
from stores.write.store_plan import StorePlan, StoreSpec, plan_store


class StoreWriter:
    """The writing side of one store folder; workers open it by path and write shards independently."""

    def __init__(self, blobs: ByteStore, manifest: Manifest) -> None:
        self.blobs, self.manifest = blobs, manifest
        self._planned: StorePlan | None = None
        self._lease: Lease | None = None

    @classmethod
    def plan(
        cls,
        parent: Location,
        kind: str,
        name: str,
        arrays: Sequence[ArraySpec],
        index: pa.Table,
        ingredients: Mapping[str, Any],
        views: int = 1,
        attributes: Mapping[str, Any] | None = None,
        rows_per_shard: int | None = None,
        seed: int = 0,
        permute: bool = True,
        row_ingredients: Mapping[str, Any] | None = None,
    ) -> "StoreWriter":
        """A writer of the folder `parent/<name>-<fingerprint12>` that touches nothing before `begin()`.

        `ingredients` is nested JSON of everything that decides the bytes; the index, arrays, views, shard size and
        layout are added here. `attributes` is free JSON that does not. Rows are put in a seeded order unless `permute`
        is False (stores whose rows follow another store's). When the folder is there already, its manifest counts.

        `row_ingredients` are what decides a row's values besides its image's bytes (by default all `ingredients`).
        Rows of images that a complete store beside this one holds, made with the same ones, are copied from there:
        see `reuse_shards` and `reused_rows`. When that store's rows are all among these, they keep their positions.

        Raises:
            ValueError: a malformed index, array or ingredient.
            ForeignStoreError: the folder holds another store.
        """
        spec = StoreSpec(
            parent=parent,
            kind=kind,
            name=name,
            arrays=tuple(arrays),
            ingredients=ingredients,
            views=views,
            attributes=attributes or {},
            rows_per_shard=rows_per_shard,
            seed=seed,
            permute=permute,
            row_ingredients=row_ingredients,
        )
        plan = plan_store(spec, index)
        writer = cls(open_bytestore(plan.location), plan.manifest)
        writer._planned = plan
        if writer.begun:
            writer._check_same()
        return writer

    @classmethod
    def create(cls, *args: Any, **settings: Any) -> "StoreWriter":
        """`plan(...)` and `begin()` in one: make the folder, or open the one that the same ingredients made."""
        writer = cls.plan(*args, **settings)
        writer.begin()
        return writer

    def begin(self) -> None:
        """Make the folder, or go on with the one that is there; does nothing on a writer that was opened."""
        if self._planned is not None:
            self._adopt(self._planned.index) if self.begun else self._make(self._planned)
            self._planned = None

    @property
    def begun(self) -> bool:
        """Whether the folder is there."""
        return self.blobs.exists(MANIFEST)

    @classmethod
    def open(cls, location: Location) -> "StoreWriter":
        """Open a planned store by its folder or URL; cheap, for workers.

        Raises:
            StoreError: no store there, or a damaged manifest.
        """
        blobs = open_bytestore(location)
        return cls(blobs, read_manifest(blobs))

    @property
    def path(self) -> Path:
        """The store's folder."""
        return local_folder(self.blobs)

    @property
    def url(self) -> str:
        """Where the store is, a path or a URL; `StoreWriter.open` takes it."""
        return self.blobs.url

    @property
    def complete(self) -> bool:
        """Whether the store is finalized."""
        return self.manifest.status == COMPLETE

    @property
    def num_rows(self) -> int:
        """Rows, rejected ones included."""
        return self.manifest.num_rows

    @property
    def num_shards(self) -> int:
        """Shards, done or not."""
        return self.manifest.num_shards

    @cached_property
    def index(self) -> pa.Table:
        """The rows in stored order."""
        return indexing.index_from_bytes(self.blobs.read(INDEX), self.blobs.url, self.num_rows)

    def index_rows(self, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Some columns of the index for some rows; unlike `index` it keeps nothing in memory."""
        self.blobs.size(INDEX)  # a regular file: opening a pipe would wait for ever
        file = self.blobs.local_path(INDEX) or pa.BufferReader(self.blobs.read(INDEX))
        return indexing.rows_from_file(file, self.blobs.url, rows, columns)

    def shard_rows(self, shard: int) -> range:
        """The rows of a shard."""
        return self.manifest.shard_rows(shard)

    def lease(self, take_over: bool = False) -> Lease:
        """One driver writes at a time: `with writer.lease(): ...`; what a killed one left unfinished is swept away.

        `take_over` is that of `Lease`.
        """
        self._lease = Lease(self.blobs, on_enter=self.blobs.sweep, take_over=take_over)
        return self._lease

    def missing_shards(self, among: Iterable[int] | None = None) -> list[int]:
        """Shards (of these, by default of all) without a valid record of files that are there in full length."""
        shards = range(self.num_shards) if among is None else among
        return [shard for shard in shards if done_record(self.blobs, self.manifest, shard) is None]

    def set_attributes(self, **attributes: Any) -> None:
        """Add to the manifest's attributes, of a store that is not begun or of which nothing is written yet."""
        self.manifest = replace(self.manifest, attributes={**self.manifest.attributes, **attributes})
        if self.begun:
            self.blobs.write(MANIFEST, self.manifest.to_bytes())

    def reuse_shards(self) -> int:
        """Copy the missing shards whose rows older stores hold, by a second name for the file where that goes.

        Returns the number of rows; call it under the lease, before the missing shards are given to workers.
        """
        rows = 0
        for shard in self.missing_shards():
            rows += len(self.shard_rows(shard)) if self._reuse_shard(shard) else 0
        return rows

    def reused_rows(self, shard: int) -> ReusedRows:
        """The rows of a shard that need no computing; pass them to `write_shard`."""
        return self._reuse.rows(shard)

    def write_shard(
        self,
        shard: int,
        arrays: Mapping[str, np.ndarray | RaggedArray],
        rejected: Mapping[int, str] | None = None,
        reused: ReusedRows | None = None,
    ) -> CommitRecord:
        """Write one shard's files, then its record; a pure function of its arguments, safe to repeat.

        arrays: name -> (rows, views, *row_shape) of the shard's rows, or a `RaggedArray` with spans (rows, views, 2).
        `rejected` maps store rows to reasons; their values are replaced by the fill value. Values of `reused` rows are
        replaced by theirs.

        Raises:
            ValueError: missing arrays, wrong shapes, or dtypes that would lose values silently.
            NonFiniteError: a NaN or infinity in a row that is not rejected, or a value beyond the stored dtype's range.
        """
        with ShardBuild(self.manifest, shard, arrays, dict(rejected or {}), reused) as build:
            for part in self.manifest.parts:
                self.blobs.write(self.manifest.shard_key(part, shard), build.file(part), before_visible=build.check)
            record = build.record()
        self.blobs.write(commit_key(shard), record.to_bytes())
        return record

    def rejected(self) -> list[tuple[str, str]]:
        """Key and reason of each row that the shards done so far rejected."""
        return rejected_rows(self.blobs, self.manifest, self.index)

    def check_rejected(self, max_rejected: float) -> None:
        """Raise `TooManyRejectedError` when the shards done so far rejected more than that share of all rows."""
        check_rejected(self.blobs.url, self.rejected(), self.num_rows, max_rejected)

    def finalize(
        self, max_rejected: float = 0.01, attributes: Mapping[str, Any] | None = None, may_be_empty: bool = False
    ) -> Store:
        """Check all records, write statuses, statistics and content id; complete in one replace.

        Args:
            max_rejected: the share of rows that may be rejected.
            attributes: further ones of the manifest.
            may_be_empty: whether all rows may be rejected, as those of one store of a bucket set.

        Raises:
            IncompleteStoreError: shards are missing.
            TooManyRejectedError: more rows were rejected; nothing is lost.
            LeaseHeldError: another process took over the lease of this writer while it was paused.
        """
        if not self.complete:
            check = self._lease.check if self._lease is not None and self._lease.is_entered else None
            described = replace(self.manifest, attributes={**self.manifest.attributes, **(attributes or {})})
            self.manifest = write_finished(self.blobs, described, self.index, max_rejected, check, may_be_empty)
            self.__dict__.pop("index", None)
        self.blobs.delete(REUSE)
        self._tidy()
        return Store(self.blobs, self.manifest)

    def _tidy(self) -> None:
        """Remove what a process left that was killed just before its end; whoever holds the lease sweeps for itself."""
        if self.blobs.orphans() or self.blobs.exists(LEASE):
            with suppress(LeaseHeldError), Lease(self.blobs):
                self.blobs.sweep()

    def _make(self, plan: StorePlan) -> None:
        """Everything but the shards; the manifest comes last, so a folder with one is whole."""
        self.blobs.write(INDEX, indexing.index_to_bytes(plan.index))
        if plan.reuse.num_rows:
            self.blobs.write(REUSE, reuse_to_bytes(plan.reuse))
        for key, data in self.manifest.zarr_files().items():
            self.blobs.write(key, data)
        self.blobs.write(MANIFEST, self.manifest.to_bytes())

    def _check_same(self) -> None:
        """Use the manifest that is there, when it is of the same ingredients."""
        found = read_manifest(self.blobs)
        if found.fingerprint != self.manifest.fingerprint:
            raise ForeignStoreError(
                f"{self.blobs.url}: expected the store {self.manifest.fingerprint}; "
                f"received {found.fingerprint}; move that folder away"
            )
        self.manifest = found

    def _adopt(self, table: pa.Table) -> None:
        """Go on with the store that is there; images that moved since are read from where they are now."""
        self._check_same()
        if not self.complete and not self._has_index(table):
            self.blobs.write(INDEX, indexing.index_to_bytes(table))
            self.__dict__.pop("index", None)

    def _has_index(self, table: pa.Table) -> bool:
        try:
            return bool(self.index.equals(table))
        except (CorruptStoreError, FileNotFoundError):
            return False

    @cached_property
    def _reuse(self) -> ReuseReader:
        return ReuseReader(self.blobs, self.manifest)

    def _reuse_shard(self, shard: int) -> bool:
        if self._reuse.copy_shard(shard):
            return True
        reused = self.reused_rows(shard) if self._reuse.covers(shard) else None
        if reused is None or not reused.mask.all():
            return False
        self.write_shard(shard, zero_arrays(self.manifest, len(reused.mask)), reused=reused)
        return True
