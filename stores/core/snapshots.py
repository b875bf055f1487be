"""Reading a store while it is written: snapshots of the shards that are committed at one moment."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from stores.backends import ByteStore, DiskCache, Location, open_bytestore
from stores.core.cached_shards import uncached
from stores.core.finish import done_record, read_record
from stores.core.lease import Lease
from stores.core.listing import read_manifest
from stores.core.reader import Store
from stores.format import (
    COMMITS,
    COMPLETE,
    CommitRecord,
    ForeignStoreError,
    IncompleteStoreError,
    Manifest,
    Statistics,
    canonical_json,
    combine,
    content_id,
)
from stores.format import index as indexing

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CommittedShards:
    """Which shards of a store were committed at one moment.

    Attributes:
        shards: ranges (first, past the last) of shard numbers, ascending.
        num_rows: rows of these shards that are ok.
        digest: SHA-256 over the shards and their values; of all shards the store's content id.
    """

    shards: Ranges
    num_rows: int
    digest: str

    @property
    def numbers(self) -> list[int]:
        """The shards, ascending."""
        return [shard for first, past in self.shards for shard in range(first, past)]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"shards": [list(one) for one in self.shards], "num_rows": self.num_rows, "digest": self.digest}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CommittedShards":
        """What `to_json` gave.

        Raises:
            ValueError: something else.
        """
        try:
            shards = tuple((int(first), int(past)) for first, past in data["shards"])
            return cls(shards, int(data["num_rows"]), str(data["digest"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"snapshot: expected shards, num_rows and digest; received {data!r:.80}") from error


class StoreSnapshot(Store):
    """The rows of a store, unfinished or not, that a snapshot holds; other rows count as not ok.

    `content_id` is the snapshot's digest, so that what depends on the rows of a store depends on the snapshot.
    """

    def __init__(
        self,
        blobs: ByteStore,
        manifest: Manifest,
        snapshot: CommittedShards,
        rejected: np.ndarray,
        cache: DiskCache | None = None,
    ) -> None:
        """`rejected`: int64 rows that these shards rejected."""
        super().__init__(blobs, replace(manifest, content_id=snapshot.digest), cache)
        self.snapshot, self.rejected = snapshot, rejected

    @property
    def is_whole(self) -> bool:
        """Whether every shard of the store is in it."""
        return self.snapshot.shards == ((0, self.manifest.num_shards),)

    @cached_property
    def ok(self) -> np.ndarray:
        """The committed rows that were not rejected, as a mask bool (num_rows,)."""
        mask = np.zeros(self.num_rows, bool)
        for first, past in self.snapshot.shards:
            mask[self.manifest.shard_rows(first).start : self.manifest.shard_rows(past - 1).stop] = True
        mask[self.rejected] = False
        mask &= self.planned
        return mask

    @cached_property
    def planned(self) -> np.ndarray:
        """The rows that the store was planned with and that are not rejected so far, as a mask bool (num_rows,)."""
        return self._equals("status", indexing.OK)

    def planned_rows(self, split: str | None = None) -> np.ndarray:
        """int64 rows of `planned`, ascending; of one split when asked."""
        planned = np.flatnonzero(self.planned)
        return planned if split is None else planned[self._is_split(split)[planned]]

    def statistics(self, name: str) -> Statistics:
        """Exact per-channel mean and std of an array over the ok rows of the snapshot.

        Raises:
            IncompleteStoreError: it has no shard.
        """
        if name in self.added:
            return super().statistics(name)
        self._spec(name)
        if not self.snapshot.shards:
            raise IncompleteStoreError(f"{self.url}: expected committed rows; received none; wait for its writer")
        records = (read_record(self.blobs, self.manifest, shard) for shard in self.snapshot.numbers)
        return combine([record.sums[name] for record in records])

    def cached(self, cache: DiskCache) -> "StoreSnapshot":
        return StoreSnapshot(uncached(self.blobs), self.manifest, self.snapshot, self.rejected, cache)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "planned"}


class StoreFollower:
    """Takes snapshots of a store that another process writes; each commit record is read once."""

    def __init__(self, location: Location, cache: DiskCache | None = None) -> None:
        """Open a store in any state.

        Raises:
            StoreNotFoundError, CorruptStoreError, ForeignStoreError: as `open_store`.
        """
        self.blobs, self.cache = open_bytestore(location), cache
        self.manifest = read_manifest(self.blobs)
        self._records: dict[int, CommitRecord] = {}

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.blobs.url

    @property
    def complete(self) -> bool:
        """Whether the store was finished when it was last looked at."""
        return self.manifest.status == COMPLETE

    def writer(self) -> dict[str, Any] | None:
        """Who writes the store, and whether it is alive, see `Lease.owner`; None: nobody."""
        return Lease(self.blobs).owner()

    def take(self) -> StoreSnapshot:
        """The rows that are committed now.

        Raises:
            ForeignStoreError: another store lies there now.
        """
        self._look()
        return self._view(sorted(self._records))

    def at(self, snapshot: CommittedShards) -> StoreSnapshot:
        """The rows of a snapshot that was taken before.

        Raises:
            ForeignStoreError: shards of it are not there any more, or hold other values.
        """
        if not all(shard in self._records for shard in snapshot.numbers):
            self._look()
        missing = [shard for shard in snapshot.numbers if shard not in self._records]
        found = None if missing else self._view(snapshot.numbers)
        if found is None or found.snapshot != snapshot:
            what = f"no shard {missing[0]}" if missing else "other values in its shards"
            raise ForeignStoreError(
                f"{self.url}: expected the snapshot {snapshot.digest[:12]} of {snapshot.num_rows} rows; received "
                f"{what}; repair the store, or start a new run"
            )
        return found

    def _look(self) -> None:
        """Read the manifest and the commit records that are new."""
        found = read_manifest(self.blobs)
        if found.fingerprint != self.manifest.fingerprint:
            raise ForeignStoreError(
                f"{self.url}: expected the store {self.manifest.fingerprint[:12]}; received {found.fingerprint[:12]}"
            )
        self.manifest = found
        if len(self._records) == found.num_shards:
            return
        for shard in sorted(self._committed() - self._records.keys()):
            record = done_record(self.blobs, found, shard)
            if record is not None:
                self._records[shard] = replace(record, sums={})  # of many channels they take the most memory

    def _committed(self) -> set[int]:
        names = (key.rpartition("/")[2].removesuffix(".json") for key in self.blobs.keys(f"{COMMITS}/"))
        numbers = {int(name) for name in names if name.isdecimal()}
        return {number for number in numbers if number < self.manifest.num_shards}

    def _view(self, shards: list[int]) -> StoreSnapshot:
        records = [self._records[shard] for shard in shards]
        rejected = np.array(sorted(row for record in records for row in record.rejected), np.int64)
        rows = sum(record.stop - record.start for record in records) - len(rejected)
        digest = content_id(self.manifest, records)
        if len(shards) < self.manifest.num_shards:
            digest = hashlib.sha256(canonical_json([[list(one) for one in ranges_of(shards)], digest])).hexdigest()
        snapshot = CommittedShards(ranges_of(shards), rows, digest)
        return StoreSnapshot(self.blobs, self.manifest, snapshot, rejected, self.cache)


def ranges_of(numbers: list[int]) -> Ranges:
    """Ranges (first, past the last) that hold these ascending numbers."""
    if not numbers:
        return ()
    starts = [numbers[0], *(later for earlier, later in pairwise(numbers) if later != earlier + 1)]
    ends = [*(earlier + 1 for earlier, later in pairwise(numbers) if later != earlier + 1), numbers[-1] + 1]
    return tuple(zip(starts, ends, strict=True))
