"""What a training asks of a store that it may follow: its batches, the rows to evaluate on, and what a record keeps."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch

from jobs.config import TrainConfig
from jobs.following.followed_store import FollowedStore
from jobs.following.following_loader import FollowingLoader, StoreLoader
from jobs.loop import SINGLE_PROCESS, AnyLoader, BatchLoader, Ranks, Trainer, batches
from jobs.runs import RunFolder
from stores import AnyStore


def training_batches(
    run: RunFolder,
    store: AnyStore,
    arrays: Sequence[str],
    config: TrainConfig,
    device: torch.device,
    ranks: Ranks = SINGLE_PROCESS,
    **pairing: Any,
) -> BatchLoader:
    """`batches` of a store; of one that is followed those of the rows that each epoch finds.

    Args:
        run: has the record of the epochs.
        store: what is read.
        arrays: as of `batches`.
        config: as of `batches`.
        device: as of `batches`.
        ranks: as of `batches`.
        pairing: a store that is read beside, as of `batches`.
    """

    def build(some: AnyStore, rows: np.ndarray | None = None) -> AnyLoader:
        return batches(some, arrays, config, device, ranks, rows=rows, **pairing)

    if not isinstance(store, FollowedStore):
        return build(store)
    following = cast(Callable[[AnyStore, np.ndarray | None], StoreLoader], build)
    return FollowingLoader(store, run, following, config.batch_rows, device, ranks)


def epoch_counts(loader: BatchLoader) -> Callable[[], dict[str, int]]:
    """What each line of metrics holds of the epoch; nothing of a store that is not followed."""
    return loader.counts if isinstance(loader, FollowingLoader) else dict


def keep_epochs(run: RunFolder, trainer: Trainer) -> None:
    """Put into the record of a run that is to be finished which rows its epochs saw, where it followed a store."""
    if isinstance(trainer.loader, FollowingLoader):
        run.record = replace(run.record, followed=trainer.loader.summary())


def rows_now(trainer: Trainer, store: AnyStore) -> AnyStore:
    """The store that a training is evaluated on: of one that is followed the rows of the current epoch's snapshot."""
    return trainer.loader.rows_now() if isinstance(trainer.loader, FollowingLoader) else store
