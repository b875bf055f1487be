"""Batches of several stores whose rows have different shapes: each batch of one store, the stores in a mixed order."""

import math
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from stores.core import BucketSet, Store
from stores.loader.batch_sampler import BatchSchedule, ScheduledBatch, check_budget, equal_batch_rows
from stores.loader.epoch_dataset import EpochLoader
from stores.loader.joint import JointLoader
from stores.loader.loader import GROUP_BYTES, PREFETCHED_GROUP_BYTES, Loader, resident_bytes
from stores.loader.options import LoaderOptions, LoaderRank, choose_prefetch, choose_residency
from stores.loader.selection import Selection, array_names, checked_arrays, checked_stores, split_rows
from stores.loader.transfer import Batch, BufferPools, Transfer, prefetched
from stores.loader.windows import LoaderCursor

Stores = BucketSet | Mapping[str, Store] | Sequence[Store]
# Batches that a thread hands over at once, however small: the first one waits for the others.
MOST_AT_ONCE = 6
# What the loaders of stores have sent, each with its place.
SentBatches = list[tuple[ScheduledBatch, Any]]


class BucketLoader(EpochLoader):
    """Iterates over batches of a bucket set's stores, each batch of one of them; the interface is that of `Loader`.

    Every row comes once an epoch: each store's rows are shuffled and cut into batches as its own `Loader` has them, the
    last one smaller, and the batches of all stores come in a shuffled order. Both orders are pure functions of the
    options and of (epoch, step), whatever the number of ranks, whose parts of a batch may differ by a row. A batch has
    "store" int64 (B,), the number of its store. Stores without a row of the split are left out, and keep their number.

    Args:
        stores: a bucket set, or complete stores by size or in a list.
        arrays: names of the arrays to deliver, which every store has.
        options: settings, see `LoaderOptions`; here every row is read, so that `drop_last` is False unless given.
            `rows`, a list of arrays, are those of each store, which may have none.
        batch_tokens: tokens of a global batch, in place of `batch_size`: a store's batch has as many rows as give at
            most so many tokens of the first array, at least one for each rank.
        equal_batches: cut the rows of each store into the fewest batches of one size, at most that of `batch_size` or
            `batch_tokens`, and at least of a row for each rank. The few rows beyond are left out, others in each epoch.
            A store of fewer rows than ranks is left out, with a warning of rank 0; see `left_out`.
        second: stores with the same rows as `stores`, such as captions, of which a batch has arrays too, see
            `JointLoader`.
        second_arrays: names of these arrays.
        same_views: a row's view is the same in both.
        settings: fields of `LoaderOptions` that replace those of `options`.

    Raises:
        ValueError: no store, none that has rows to read, arrays that a store does not have, options that do not fit, or
            batches that would leave a rank without rows.
        TypeError: a setting that does not exist, or something of another type.
    """

    def __init__(
        self,
        stores: Stores,
        arrays: Sequence[str] = ("latents",),
        options: LoaderOptions | None = None,
        batch_tokens: int | None = None,
        equal_batches: bool = False,
        second: Stores | None = None,
        second_arrays: Sequence[str] = ("states", "length", "pooled"),
        same_views: bool = False,
        **settings: Any,
    ) -> None:
        self.stores = _stores_of(stores)
        if not self.stores:
            raise ValueError("stores: expected one store or more; received none")
        self.arrays = array_names(arrays)
        if batch_tokens is not None:
            check_budget(batch_tokens, options, settings)
        usual = {"drop_last": equal_batches, "uneven_ranks": True}
        self.options = options = LoaderOptions.of(options, usual | settings)
        if options.weights is not None:
            raise ValueError("weights: expected none, since every row of every bucket comes once an epoch")
        self._rank = LoaderRank.of(options)
        self._second, self._same_views = None if second is None else _stores_of(second), same_views
        self._second_arrays = array_names(second_arrays)
        if self._second is not None and len(self._second) != len(self.stores):
            raise ValueError(f"second: expected a store for each of {len(self.stores)}; received {len(self._second)}")
        # Rows by the number of each store that has fewer of them than there are ranks.
        self.left_out: dict[int, int] = {}
        rows_of = self._rows_of_each()
        if equal_batches:
            rows_of = self._without_small(rows_of, stores)
        residency = self._residency(rows_of)
        self._prefetch = choose_prefetch(options, residency)
        own: dict[str, Any] = {"residency": residency}
        for name in ("stream_shards", "window_bytes"):  # all stores together take the memory of one
            own[name] = max(1, getattr(options, name) // len(rows_of))
        # By the number of the store.
        self.loaders: dict[int, Loader | JointLoader] = {}
        for number, rows in rows_of.items():
            count = self._batch_rows(self.stores[number], batch_tokens)
            if equal_batches:
                count = equal_batch_rows(self._count(number, rows), count, self._rank.world_size)
            self.loaders[number] = self._loader(number, replace(options, rows=rows, batch_size=count, **own))
            self.loaders[number].name_store(number)
            self._check_rest(number)
        self._share()
        self._batch_bytes = {number: loader.batch_bytes for number, loader in self.loaders.items()}
        counts = {number: loader.steps_per_epoch for number, loader in self.loaders.items()}
        self._schedule = BatchSchedule(counts, options.seed, options.shuffle)
        self._last: ScheduledBatch | None = None

    @property
    def device(self) -> torch.device:
        """Where batches are delivered."""
        return next(iter(self.loaders.values())).device

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, of all stores."""
        return self._schedule.steps_per_epoch

    @property
    def batch_rows(self) -> dict[int, int]:
        """Rows of a global batch, by the number of its store; the last one of an epoch may have fewer."""
        return {number: _plain(loader).sampler.batch_size for number, loader in self.loaders.items()}

    @property
    def residency(self) -> str:
        """Where the rows live, "device", "ram" or "stream"; those of all stores alike, but for `second`."""
        return _plain(next(iter(self.loaders.values()))).residency

    @property
    def last_batch_rows(self) -> int:
        """Rows, over all ranks, of the batch that was handed out last; 0 before the first."""
        return 0 if self._last is None else _plain(self.loaders[self._last.store]).sampler.rows_of(self._last.number)

    def schedule(self, epoch: int) -> np.ndarray:
        """The number of the store of each batch of an epoch, int64 (steps_per_epoch,)."""
        return self._schedule.stores(epoch)

    def mean_std(self, array: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of an array's channels over all stores, each float32 (C,) on `device`."""
        return Selection(self.stores, (), ()).mean_std(array, None, self.device)

    def renew(self) -> None:
        """Drop buffers and locks, which a forked process cannot share with its parent."""
        for loader in self.loaders.values():
            loader.renew()
        self._share()

    def order_facts(self) -> dict[str, Any]:
        """What the order of batches depends on; JSON values."""
        return {
            "shuffle": self.options.shuffle,
            "buckets": {str(number): loader.order_facts() for number, loader in self.loaders.items()},
        }

    def _batches(self, epoch: int, step: int, endless: bool = True, stride: int = 1) -> Generator[Batch, None, None]:
        self._rank.check()
        if len(self.loaders) == 1:
            (loader,) = self.loaders.values()
            with closing(loader._batches(epoch, step, endless, stride)) as batches:
                for at in self._schedule.batches(epoch, step, endless, stride):
                    yield self._handed_out(at, next(batches))
            return
        with closing(prefetched(self._sent(epoch, step, endless, stride), self._prefetch)) as made:
            for some in made:
                while some:
                    yield self._received(*some.pop())

    def _received(self, at: ScheduledBatch, sent: Any) -> Batch:
        (batch,) = self.loaders[at.store].received(sent)
        return self._handed_out(at, batch)

    def _handed_out(self, at: ScheduledBatch, batch: Batch) -> Batch:
        is_last = at.step + 1 == self.steps_per_epoch
        self._position = (at.epoch + 1, 0) if is_last else (at.epoch, at.step + 1)
        self._last = at
        return batch

    def _sent(self, epoch: int, step: int, endless: bool, stride: int) -> Iterator[SentBatches]:
        """Batches on their way to the device, several small ones at once; the first one last."""
        streams: dict[int, tuple[tuple[int, int], Iterator[Any]]] = {}  # of a store, and the batch that comes next
        made: list[SentBatches] = [[]]
        num_bytes, most_bytes = 0, PREFETCHED_GROUP_BYTES if self._prefetch else GROUP_BYTES
        for at in self._schedule.batches(epoch, step, endless, stride):
            loader = self.loaders[at.store]
            following, stream = streams.pop(at.store, ((-1, -1), iter(())))
            if following != (at.epoch, at.number):
                stream = loader.sent(LoaderCursor(at.epoch, at.number, endless, max_batches=1))
            is_last = at.number + 1 == loader.steps_per_epoch
            streams[at.store] = (at.epoch + 1, 0) if is_last else (at.epoch, at.number + 1), stream
            made[0].insert(0, (at, next(stream)))
            num_bytes += self._batch_bytes[at.store]
            if num_bytes >= most_bytes or len(made[0]) == MOST_AT_ONCE:
                num_bytes, made = 0, [made[0], []]
                yield made.pop(0)  # no name keeps it: a batch that is dropped frees its buffers at once
        if made[0]:
            yield made.pop(0)

    def _share(self) -> None:
        """Let each batch be gathered where the one before was, of whatever store: that is in the processor's cache."""
        buffers, transfer = BufferPools(pinned=self.device.type == "cuda"), Transfer(self.device)
        for loader in self.loaders.values():
            loader.share(buffers, transfer)

    def _loader(self, number: int, options: LoaderOptions) -> Loader | JointLoader:
        if self._second is None:
            return Loader(self.stores[number], self.arrays, options)
        return JointLoader(
            *(self.stores[number], self._second[number], self.arrays, self._second_arrays),
            same_views=self._same_views,
            options=options,
        )

    def _rows_of_each(self) -> dict[int, np.ndarray | None]:
        """The given rows, or None for those of the split, by the number of each store that has some."""
        options, count = self.options, len(self.stores)
        given = [None] * count if options.rows is None else list(options.rows)
        if len(given) != count:
            raise ValueError(f"rows: expected one array for each of {count} stores; received {len(given)}")
        for store in self.stores:
            checked_arrays(store, self.arrays)
        found = {number: rows for number, rows in enumerate(given) if self._count(number, rows)}
        if not found:
            wanted = f"the split {options.split!r}" if options.rows is None else "rows="
            raise ValueError(
                f"stores: expected a row of {wanted} in one of {count} at least; received none; choose another split, "
                'such as "all", or other rows'
            )
        return found

    def _without_small(self, rows_of: Mapping[int, np.ndarray | None], stores: Stores) -> dict[int, np.ndarray | None]:
        """The stores that have a row for each rank, at least; a warning names the others."""
        by_size = stores.stores if isinstance(stores, BucketSet) else stores
        names = list(by_size) if isinstance(by_size, Mapping) else [store.url for store in self.stores]
        world, counts = self._rank.world_size, {number: self._count(number, rows) for number, rows in rows_of.items()}
        self.left_out = {number: count for number, count in counts.items() if count < world}
        if not self.left_out:
            return dict(rows_of)
        small = ", ".join(f"{names[number]} ({count} rows)" for number, count in self.left_out.items())
        if len(self.left_out) == len(counts):
            raise ValueError(
                f"stores: expected one of {world} rows at least, one for each rank; received {small}; train on "
                f"{max(counts.values())} ranks at most, or on larger buckets"
            )
        if self._rank.rank == 0:
            warnings.warn(f"left out, since they have fewer rows than {world} ranks: {small}", stacklevel=3)
        return {number: rows for number, rows in rows_of.items() if number not in self.left_out}

    def _count(self, number: int, rows: np.ndarray | None) -> int:
        return len(split_rows(self.stores[number], self.options)) if rows is None else np.size(rows)

    def _residency(self, rows_of: Mapping[int, np.ndarray | None]) -> str:
        """Where the rows live: all stores share one memory."""
        stores, num_bytes = self.stores, 0
        for number, rows in rows_of.items():
            count = self._count(number, rows)
            num_bytes += resident_bytes(stores[number], self.arrays, count, self.options.view)
            if self._second is not None:
                num_bytes += resident_bytes(self._second[number], self._second_arrays, count)
        options = self.options
        return choose_residency(options.residency, num_bytes, torch.device(options.device), self._rank.world_size)

    def _batch_rows(self, store: Store, batch_tokens: int | None) -> int:
        """Rows of a global batch of a store, the largest there may be."""
        if batch_tokens is None:
            return self.options.batch_size
        tokens = math.prod(checked_arrays(store, self.arrays)[0].row_shape[:-1])
        world = self._rank.world_size
        if batch_tokens < tokens * world:
            raise ValueError(
                f"batch_tokens: expected at least {tokens * world}, a row of {store.url} for each of {world} ranks; "
                f"received {batch_tokens}"
            )
        return batch_tokens // tokens

    def _check_rest(self, number: int) -> None:
        """Raise ValueError where a batch has fewer rows than there are ranks."""
        sampler, world = _plain(self.loaders[number]).sampler, self._rank.world_size
        rest = sampler.num_rows % sampler.batch_size
        if not self.options.drop_last and 0 < rest < world:
            raise ValueError(
                f"batch_size: expected a last batch of at least {world} rows, one for each rank; received {rest} of "
                f"{self.stores[number].url}; choose another one, or drop_last=True"
            )


def _stores_of(stores: Stores) -> tuple[Store, ...]:
    by_size = stores.stores if isinstance(stores, BucketSet) else stores
    return checked_stores(by_size.values() if isinstance(by_size, Mapping) else by_size)


def _plain(loader: Loader | JointLoader) -> Loader:
    """The loader of the first store."""
    return loader.first if isinstance(loader, JointLoader) else loader
