"""Writing a store: plan it, commit shard after shard in any order and from any process, then finalise."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stores import index as indexing
from stores.bytestore import ByteStore
from stores.commit import CommitRecord, content_id
from stores.errors import CorruptStoreError, ForeignStoreError, IncompleteStoreError, TooManyRejectedError
from stores.fingerprint import fingerprint
from stores.layout import (
    DATA,
    INDEX,
    LAYOUT_VERSION,
    MANIFEST,
    SPARE,
    array_metadata,
    commit_key,
    default_rows_per_shard,
    group_metadata,
    part_attributes,
    shard_key,
)
from stores.lease import Lease
from stores.manifest import COMPLETE, Manifest
from stores.places import Place, inside, local_folder, open_bytestore
from stores.reader import Store, read_manifest
from stores.shard import ShardFormat
from stores.shard_build import ShardBuild
from stores.spec import ArraySpec, Part
from stores.stats import combine


class StoreWriter:
    """The writing side of one store folder; workers open it by path and write shards independently."""

    def __init__(self, blobs: ByteStore, manifest: Manifest) -> None:
        self.blobs, self.manifest = blobs, manifest
        self._planned_index: pa.Table | None = None

    @classmethod
    def plan(
        cls,
        parent: Place,
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
    ) -> "StoreWriter":
        """A writer of the folder `parent/<name>-<fingerprint12>` that touches nothing before `begin()`.

        `ingredients` is nested JSON of everything that decides the bytes; the index, arrays, views, shard size and
        layout are added here. `attributes` is free JSON that does not. Rows are put in a seeded order unless `permute`
        is False (stores whose rows follow another store's). When the folder is there already, its manifest counts.

        Raises:
            ValueError: a malformed index, array or ingredient.
            ForeignStoreError: the folder holds another store.
        """
        table = indexing.complete_index(index)
        table = indexing.permuted_index(table, seed) if permute else table
        specs = tuple(arrays)
        rows = rows_per_shard or default_rows_per_shard(kind, table.num_rows, views, specs)
        assert not {"store", "kind"} & ingredients.keys(), "these names are added here"
        layout = {
            "layout_version": LAYOUT_VERSION,
            "arrays": [spec.to_json() for spec in specs],
            "views": views,
            "rows_per_shard": rows,
            "seed": seed if permute else None,
            "index_sha256": indexing.index_digest(table),
        }
        everything = {**ingredients, "kind": kind, "store": layout}
        manifest = Manifest(kind, name, table.num_rows, views, rows, seed, specs, everything, dict(attributes or {}))
        place = inside(parent, f"{name}-{fingerprint(everything)[:12]}")
        writer = cls(open_bytestore(place), manifest)
        writer._planned_index = table
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
        table = self._planned_index
        if table is not None:
            self._adopt(table) if self.begun else self._plan(table)
            self._planned_index = None

    @property
    def begun(self) -> bool:
        """Whether the folder is there."""
        return self.blobs.exists(MANIFEST)

    @classmethod
    def open(cls, place: Place) -> "StoreWriter":
        """Open a planned store by its folder or URL; cheap, for workers.

        Raises:
            StoreError: no store there, or a damaged manifest.
        """
        blobs = open_bytestore(place)
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
        """Whether the store is finalised."""
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

    def shard_rows(self, shard: int) -> range:
        """The rows of a shard."""
        return self.manifest.shard_rows(shard)

    def lease(self) -> Lease:
        """One driver writes at a time: `with writer.lease(): ...`; what a killed one left unfinished is swept away."""
        return Lease(self.blobs, on_enter=self.blobs.sweep)

    def missing_shards(self) -> list[int]:
        """Shards without a valid record of files that are there in full length; these are to be written (again)."""
        return [shard for shard in range(self.num_shards) if not self._is_done(shard)]

    def write_shard(
        self, shard: int, arrays: Mapping[str, np.ndarray], rejected: Mapping[int, str] | None = None
    ) -> CommitRecord:
        """Write one shard's files, then its record; a pure function of its arguments, safe to repeat.

        arrays: name -> (rows, views, *row_shape) of the shard's rows. `rejected` maps store rows to reasons; their
        values are replaced by the fill value.

        Raises:
            ValueError: missing arrays, wrong shapes, or dtypes that would lose values silently.
            NonFiniteError: a NaN or infinity in a row that is not rejected, or a value beyond the stored dtype's range.
        """
        with ShardBuild(self.manifest, shard, arrays, dict(rejected or {})) as build:
            for part in self.manifest.parts:
                self.blobs.write(shard_key(part, shard), build.file(part), before_visible=build.check)
            record = build.record()
        self.blobs.write(commit_key(shard), record.to_bytes())
        return record

    def finalise(self, max_rejected: float = 0.01) -> Store:
        """Check all records, write row statuses, statistics and content id, and mark the store complete in one replace.

        Raises:
            IncompleteStoreError: shards are missing.
            TooManyRejectedError: more than the share `max_rejected` of rows, or all, were rejected; nothing is lost.
        """
        if not self.complete:
            self._finalise(max_rejected)
        return Store(self.blobs, self.manifest)

    def _finalise(self, max_rejected: float) -> None:
        missing = self.missing_shards()
        if missing:
            raise IncompleteStoreError(
                f"{self.blobs.url}: {len(missing)} of {self.num_shards} shards are missing, the first is {missing[0]}; "
                "run the command that writes this store again"
            )
        records = [self._record(shard) for shard in range(self.num_shards)]
        rejected = {row: reason for record in records for row, reason in record.rejected.items()}
        self._check_rejected(rejected, max_rejected)
        table = indexing.index_to_bytes(indexing.with_rejected(self.index, rejected))
        names = [spec.name for spec in self.manifest.arrays]
        statistics = {name: combine([record.sums[name] for record in records]).to_json() for name in names}
        digest = hashlib.sha256(table).hexdigest()
        self.manifest = self.manifest.completed(content_id(self.manifest, records), statistics, digest)
        finished = self.manifest.to_bytes()
        # The manifest in its place says that the store is complete: it comes last.
        for key, data in ((INDEX, table), (f"{SPARE}/{INDEX}", table), (f"{SPARE}/{MANIFEST}", finished)):
            self.blobs.write(key, data)
        self.blobs.write(MANIFEST, finished)
        self.__dict__.pop("index", None)

    def _plan(self, table: pa.Table) -> None:
        """Everything but the shards; the manifest comes last, so a folder with one is whole."""
        manifest = self.manifest
        self.blobs.write(INDEX, indexing.index_to_bytes(table))
        self.blobs.write(f"{DATA}/zarr.json", group_metadata({"fae_store_fingerprint": manifest.fingerprint}))
        for spec in manifest.arrays:
            for part in spec.parts:
                sizes = (manifest.num_rows, manifest.views, manifest.rows_per_shard)
                text = array_metadata(part, *sizes, attributes=part_attributes(spec))
                self.blobs.write(f"{DATA}/{part.name}/zarr.json", text)
        self.blobs.write(MANIFEST, manifest.to_bytes())

    def _check_same(self) -> None:
        """Take over the manifest that is there, when it is of the same ingredients."""
        found = read_manifest(self.blobs)
        if found.fingerprint != self.manifest.fingerprint:
            raise ForeignStoreError(
                f"{self.blobs.url}: expected the store {self.manifest.fingerprint}; "
                f"found {found.fingerprint}; move that folder away"
            )
        self.manifest = found

    def _adopt(self, table: pa.Table) -> None:
        """Go on with the store that is there; pictures that moved since are looked for in their new place."""
        self._check_same()
        if not self.complete and not self._has_index(table):
            self.blobs.write(INDEX, indexing.index_to_bytes(table))
            self.__dict__.pop("index", None)

    def _has_index(self, table: pa.Table) -> bool:
        try:
            return bool(self.index.equals(table))
        except (CorruptStoreError, FileNotFoundError):
            return False

    def _is_done(self, shard: int) -> bool:
        try:
            record = self._record(shard)
        except (CorruptStoreError, FileNotFoundError):
            return False
        return all(self._is_whole(part, shard, record.files[part.name].num_bytes) for part in self.manifest.parts)

    def _is_whole(self, part: Part, shard: int, num_bytes: int) -> bool:
        expected = ShardFormat(part, self.manifest.views, self.manifest.rows_per_shard).num_bytes(
            len(self.shard_rows(shard))
        )
        try:
            return self.blobs.size(shard_key(part, shard)) == num_bytes == expected
        except FileNotFoundError:
            return False

    def _record(self, shard: int) -> CommitRecord:
        return CommitRecord.from_bytes(self.blobs.read(commit_key(shard)), self.manifest, shard, self.blobs.url)

    def _check_rejected(self, rejected: dict[int, str], max_rejected: float) -> None:
        if len(rejected) <= max_rejected * self.num_rows and len(rejected) < self.num_rows:
            return
        keys = self.index["key"]
        first = "; ".join(f"{keys[row].as_py()}: {reason}" for row, reason in sorted(rejected.items())[:5])
        raise TooManyRejectedError(
            f"{self.blobs.url}: {len(rejected)} of {self.num_rows} pictures were rejected, more than the allowed share "
            f"{max_rejected:g}: {first}; mend or remove them, or allow more (--max-rejected); the others are kept"
        )
