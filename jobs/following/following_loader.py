"""Batches of a store that fills meanwhile: an epoch is over the rows that are committed when it begins."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch

from jobs.config import TrainConfig
from jobs.following.epoch_record import EpochEntry, EpochRecord
from jobs.following.epochwise_loader import EpochwiseLoader, StoreLoader
from jobs.following.followed_store import FollowedStore
from jobs.loop import SINGLE_PROCESS, AnyLoader, BatchLoader, Ranks, Trainer, batches
from jobs.runs import RunFolder
from stores import AnyStore, Store
from stores.core import StoreSnapshot


class FollowingLoader(EpochwiseLoader):
    """A loader whose every epoch has a store's rows of one snapshot, taken and recorded when the epoch begins.

    The order within an epoch is a pure function of (seed, epoch, snapshot). The leading rank takes snapshots, writes
    them into the run's folder and tells the others. Epochs that are recorded there have the recorded snapshots again,
    so that a run that goes on equals the one that was not stopped.

    Args:
        store: what is followed.
        run: the run whose folder has the record.
        build: makes the loader of a snapshot's rows, which goes from epoch to epoch as long as nothing was committed.
        device: of this rank.
        ranks: those that share each batch.
    """

    def __init__(
        self,
        store: FollowedStore,
        run: RunFolder,
        build: Callable[[StoreSnapshot], StoreLoader],
        device: torch.device,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        super().__init__()
        self.store, self.run, self.build, self.device, self.ranks = store, run, build, device, ranks
        self.record = EpochRecord.open(run.path, store.fingerprint)  # the other ranks' one is only what they are told
        self._entry: EpochEntry | None = None

    def counts(self) -> dict[str, int]:
        """The epoch of the last batch, and its training rows."""
        entry = self.record.covering(self.last_epoch)
        return {} if entry is None else {"epoch": self.last_epoch, "epoch_rows": entry.rows}

    def rows_now(self) -> StoreSnapshot:
        """The rows that the last batch's epoch was made of."""
        entry = self.record.covering(self.last_epoch)
        return self.store.view if entry is None else self.store.follower.at(entry.snapshot)

    def summary(self) -> dict[str, Any]:
        """What run.json keeps of the epochs, see `EpochRecord.summary`."""
        return self.record.summary(self.last_epoch, len(self.store.rows("train")), self.store.whose_statistics)

    def loader_of(self, epoch: int, step: int) -> tuple[StoreLoader, bool]:
        """The loader of an epoch's snapshot; every rank must ask."""
        text = json.dumps(self._decide(epoch, step).to_json()) if self.ranks.is_main else ""
        entry = EpochEntry.from_json(json.loads(self.ranks.broadcast(text, self.device)))
        if self.current is None or self._entry is None or self._entry.snapshot != entry.snapshot:
            self.current = None  # its rows leave the memory before others come
            self.current = self.build(self.store.follower.at(entry.snapshot))
        self._entry = entry
        return self.current, entry.snapshot.shards == ((0, self.store.manifest.num_shards),)

    def _decide(self, epoch: int, step: int) -> EpochEntry:
        """What an epoch sees, on the leading rank: what is recorded, else what is committed now."""
        found = self.record.covering(epoch) if step else self.record.binding(epoch)
        if found is None:
            view = self.store.follower.take() if self.record.entries else self.store.view
            found = EpochEntry(epoch, len(view.rows("train")), view.snapshot)
            self.record.add(found, self.run.check_lease)
        return found


def training_batches(
    run: RunFolder,
    store: AnyStore,
    arrays: Sequence[str],
    config: TrainConfig,
    device: torch.device,
    ranks: Ranks = SINGLE_PROCESS,
    beside: tuple[Sequence[Store], Sequence[str]] | None = None,
    same_views: bool = False,
) -> BatchLoader:
    """`batches` of a store; of one that is followed those of the rows that each epoch finds."""

    def build(some: AnyStore) -> AnyLoader:
        return batches(some, arrays, config, device, ranks, beside, same_views)

    if not isinstance(store, FollowedStore):
        return build(store)
    return FollowingLoader(store, run, lambda view: cast(StoreLoader, build(view)), device, ranks)


def epoch_counts(loader: BatchLoader) -> Callable[[], dict[str, int]]:
    """What each line of metrics holds of the epoch; nothing of a store that is not followed."""
    return loader.counts if isinstance(loader, FollowingLoader) else dict


def keep_epochs(run: RunFolder, trainer: Trainer) -> None:
    """Put into the record of a run that is to be finished which rows its epochs saw, where it followed a store."""
    if isinstance(trainer.loader, FollowingLoader):
        run.record = replace(run.record, followed=trainer.loader.summary())


def rows_now(trainer: Trainer, store: AnyStore) -> AnyStore:
    """The store that a training is evaluated on: of one that is followed the rows of the current epoch's snapshot."""
    return trainer.loader.rows_now() if isinstance(trainer.loader, EpochwiseLoader) else store
