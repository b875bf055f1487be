"""What encodes the rows of a followed store that are missing, in the processes that train on it."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from jobs.config import RuntimeConfig
from jobs.executors import IN_FLIGHT, ShardResult, ShardWorker, dtype_name, run_shards
from jobs.following.waiting import LOOK_SECONDS, WaitLimit, pause
from stores import LeaseHeldError, StoreWriter
from stores.core import StoreFollower, StoreSnapshot

ENCODING = "encoding rows that are missing"
WAITING = "waiting for rows that another process writes"


class ShardEncoder:
    """Writes missing shards of a store as its own stage does: the same bytes and commits, under the same lease.

    Args:
        url: the store, which was begun.
        make_worker: makes on a device the worker of the store's stage; it must be picklable.
        precision: the stage's setting, which must mean on that device what the store was planned with.
        max_rejected: the share of rows that may be rejected.
        take_over: as of `Lease`.
    """

    def __init__(
        self,
        url: str,
        make_worker: Callable[[str], ShardWorker],
        precision: str,
        max_rejected: float,
        take_over: bool = False,
    ) -> None:
        self.url, self.make_worker, self.precision = url, make_worker, precision
        self.max_rejected, self.take_over = max_rejected, take_over
        self._worker: ShardWorker | None = None
        self._has_reused = False

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_worker": None}

    def encode(self, shards: Sequence[int], device: torch.device) -> None:
        """Encode and commit these shards; whoever calls it knows that the lease is held for it.

        Raises:
            ShardFailed: a shard failed on every try.
            ValueError: this device computes otherwise than the store was planned with.
        """
        runtime = RuntimeConfig(executor="local", threads=torch.get_num_threads())
        run_shards(lambda: self._worker_on(device), list(shards), runtime, _ignore)

    def release(self) -> None:
        """Let go of the model that encodes, which takes a device's memory."""
        self._worker = None
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _worker_on(self, device: torch.device) -> ShardWorker:
        if self._worker is None:
            planned = StoreWriter.open(self.url).manifest.ingredients["precision"]
            if dtype_name(self.precision, device) != planned:
                raise ValueError(
                    f"{self.url}: expected a device that computes in {planned}, as the store was planned; received "
                    f"{device} with {dtype_name(self.precision, device)}; set the precision of the store's stage"
                )
            # Layers begin with random numbers before their weights are read: a training draws none fewer or more.
            with torch.random.fork_rng(devices=[]):
                self._worker = self.make_worker(str(device))
        return self._worker

    def orders(
        self,
        follower: StoreFollower,
        limit: WaitLimit,
        ranks: int = 1,
        on_look: Callable[[int], object] = lambda rows: None,
    ) -> Generator[list[int], None, StoreSnapshot]:
        """What is to be encoded next until a snapshot has the rows that are wanted, or all shards; returns it.

        With the last shard the store is finished.

        While another process holds the store's lease, its shards are waited for: then the order is an empty list.
        Otherwise the lease is held here. The shards of an order are committed before the next one is asked for.

        Args:
            follower: takes the snapshots.
            limit: how many training rows are wanted, and how long another process is waited for.
            ranks: how many share the shards of an order.
            on_look: called with the training rows that are there.

        Raises:
            IncompleteStoreError: the other process lives, but no new row has come for long.
            TooManyRejectedError: more rows are rejected than a finished store may have.
        """
        writer: StoreWriter | None = None
        with ExitStack() as lease:
            while True:
                view = follower.take()
                rows = len(view.rows("train"))
                on_look(rows)
                if writer is not None and len(view.rejected) > self.max_rejected * writer.num_rows:
                    writer.check_rejected(self.max_rejected)
                if rows >= limit.wanted or view.is_whole:
                    break
                if writer is None:
                    writer = self._take_lease(lease)
                    if writer is None:
                        limit.check(view, follower.writer())
                        pause(LOOK_SECONDS)
                        yield []
                    continue  # what was there in the meantime, or was taken over from older stores, counts
                yield _next_shards(view, limit.wanted - rows)[: IN_FLIGHT * ranks]
            if view.is_whole and not follower.complete:
                writer = writer or self._take_lease(lease)
                if writer is not None:  # whoever holds the lease finishes the store
                    writer.finalize(self.max_rejected)
        return view

    def _take_lease(self, lease: ExitStack) -> StoreWriter | None:
        """The store's writer with its lease held; None while another process holds it."""
        writer = StoreWriter.open(self.url)
        try:
            lease.enter_context(writer.lease(self.take_over))
        except LeaseHeldError:
            return None
        if not self._has_reused:
            writer.reuse_shards()
            self._has_reused = True
        return writer


def _next_shards(view: StoreSnapshot, rows: int) -> list[int]:
    """The first shards that are missing, as many as have so many training rows, however many ranks there are."""
    manifest = view.manifest
    counts = np.bincount(view.planned_rows("train") // manifest.rows_per_shard, minlength=manifest.num_shards)
    missing = np.setdiff1d(np.arange(manifest.num_shards), view.snapshot.numbers)
    shards: list[int] = missing[: int(np.searchsorted(np.cumsum(counts[missing]), rows)) + 1].tolist()
    return shards


def _ignore(result: ShardResult) -> None:
    """What a shard took is no part of a training's progress."""
