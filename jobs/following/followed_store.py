"""A store that a training reads while another process writes it: its planned rows, its statistics, its snapshots."""

from typing import Any

import numpy as np

from jobs.config import FollowConfig
from jobs.following.shard_encoder import ShardEncoder
from stores import AnyStore, IncompleteStoreError, Statistics, Store
from stores.backends import DiskCache, Location
from stores.core import CommittedShards, StoreFollower, StoreSnapshot

OWN_STATISTICS, FIRST_SNAPSHOT = "the finished store", "the first snapshot"


class FollowedStore(StoreSnapshot):
    """The store as it will be, of which the rows of a snapshot can be read.

    `rows` are those that it was planned with, so that sizes, classes and batch are picked by the whole of it;
    `statistics` are those that the settings name, and stay the same for a training.
    """

    def __init__(
        self,
        follower: StoreFollower,
        view: StoreSnapshot,
        follow: FollowConfig,
        source: Store | None,
        encoder: ShardEncoder | None = None,
    ) -> None:
        """What is read of the store.

        Args:
            follower: takes its snapshots.
            view: the first rows.
            follow: when the training begins, and whose statistics it may take.
            source: the finished store whose statistics are taken; None for those of `view`.
            encoder: encodes what is missing in the first epoch; None: all is waited for.
        """
        super().__init__(follower.blobs, view.manifest, view.snapshot, view.rejected, follower.cache)
        self.follower, self.view, self.follow, self.source, self.encoder = follower, view, follow, source, encoder

    def rows(self, split: str | None = None) -> np.ndarray:
        """int64 rows that are planned and not rejected so far, ascending; of one split when asked."""
        return self.planned_rows(split)

    def statistics(self, name: str) -> Statistics:
        """Mean and std per channel of the rows that the settings name.

        Raises:
            ValueError: the store that they are taken from has no such array, or one of other channels.
        """
        if self.source is None:
            return self.view.statistics(name)
        wanted, found = self.arrays[name], self.source.arrays.get(name)
        if found is None or found.channels != wanted.channels:
            received = f"no {name}" if found is None else f"{found.channels}"
            raise ValueError(
                f"{self.source.url}: statistics_from: expected {name} of {wanted.channels} channels; received "
                f"{received}"
            )
        return self.source.statistics(name)

    @property
    def whose_statistics(self) -> str:
        """What a record says of them."""
        if self.source is not None:
            return f"the store {self.source.name} {self.source.content_id[:12]}"
        return FIRST_SNAPSHOT if self.follow.snapshot_statistics else OWN_STATISTICS

    def ingredients(self, role: str) -> dict[str, Any]:
        """What of the store decides the weights and is known before it is finished.

        The rows of each epoch decide them too; they are recorded when they are known, see `EpochRecord`.
        """
        source = self.source and {"content_id": self.source.content_id}
        return {f"{role}_fingerprint": self.fingerprint, "follow": {"statistics": source or self.whose_statistics}}

    def beginning_with(self, view: StoreSnapshot) -> "FollowedStore":
        """The same store, followed from these rows on."""
        return FollowedStore(self.follower, view, self.follow, self.source, self.encoder)

    def beginning_at(self, snapshot: CommittedShards) -> "FollowedStore":
        """The same store, followed from the rows of a recorded snapshot on."""
        return self.beginning_with(self.follower.at(snapshot))

    def cached(self, cache: DiskCache) -> "FollowedStore":
        follower = StoreFollower(self.url, cache)
        return FollowedStore(follower, follower.take(), self.follow, self.source, self.encoder)


def follow_store(
    location: Location, follow: FollowConfig, source: Store | None = None, encoder: ShardEncoder | None = None
) -> FollowedStore:
    """Open a store, finished or not, for a training that follows it.

    Args:
        location: where it is.
        follow: when the training begins, and whether it may take statistics that are not final.
        source: a finished store whose channel statistics are taken.
        encoder: encodes what is missing in the first epoch.

    Raises:
        IncompleteStoreError: it is unfinished, and nothing says whose channel statistics to take.
        ValueError: two sources of statistics.
        StoreError: there is none, or it is damaged.
    """
    follower = StoreFollower(location)
    view = follower.take()
    check_statistics(view.url, follower.complete, follow, source)
    return FollowedStore(follower, view, follow, source, encoder)


def check_statistics(url: str, complete: bool, follow: FollowConfig, source: Store | None) -> None:
    """Whether it is said whose channel statistics are taken.

    Raises:
        IncompleteStoreError: the store is unfinished, and nothing says it.
        ValueError: two sources.
    """
    if source is not None and follow.snapshot_statistics:
        raise ValueError("statistics_from: expected none beside snapshot_statistics; received both; give one of them")
    if source is None and not follow.snapshot_statistics and not complete:
        raise IncompleteStoreError(
            f"{url}: expected final channel statistics; the store is unfinished; take those of a finished store "
            "(--statistics-from STORE) or of the rows that are there when training begins (--snapshot-statistics)"
        )


def follow_now(store: AnyStore) -> AnyStore:
    """The same store; of one that is followed the rows that are there now come first."""
    return store.beginning_with(store.follower.take()) if isinstance(store, FollowedStore) else store


def source_ingredients(role: str, store: AnyStore) -> dict[str, Any]:
    """What of a store decides the weights of a model that is trained on it: its content, or see `FollowedStore`."""
    return store.ingredients(role) if isinstance(store, FollowedStore) else {f"{role}_content_id": store.content_id}
