"""Batches of several stores whose rows have different shapes: each batch of one store, the stores in a mixed order."""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from stores.core import BucketSet, Store
from stores.format import combine_seeds, mix64
from stores.loader.batch_sampler import check_position, saved_position
from stores.loader.epoch_dataset import EpochDataset
from stores.loader.loader import Loader
from stores.loader.options import LoaderOptions, LoaderRank, check_integer
from stores.loader.selection import Selection, array_names, checked_arrays, checked_stores, split_rows
from stores.loader.transfer import Batch, EpochBatches

# Separates the order of batches from the orders of rows, which have the same seed.
_BATCH_ORDER = 11


class BucketLoader:
    """Iterates over batches of a bucket set's stores, each batch of one of them; the interface is that of `Loader`.

    Every row comes once an epoch: each store's rows are shuffled and cut into batches as its own `Loader` has them, the
    last one smaller, and the batches of all stores come in a shuffled order. Both orders are pure functions of the
    options and of (epoch, step), whatever the number of ranks. A batch has "store" int64 (B,), the number of its store.
    Stores without a row of the split are left out, and keep their number.

    Args:
        stores: a bucket set, or complete stores by size or in a list.
        arrays: names of the arrays to deliver, which every store has.
        options: settings, see `LoaderOptions`; here every row is read, so that `drop_last` is False unless given.
            `rows`, a list of arrays, are those of each store, which may have none.
        batch_tokens: tokens of a global batch, in place of `batch_size`: a store's batch has as many rows as give at
            most so many tokens of the first array, at least one for each rank.
        settings: fields of `LoaderOptions` that replace those of `options`.

    Raises:
        ValueError: no store, none that has rows to read, arrays that a store does not have, options that do not fit, or
            rests of batches that would leave a rank without rows.
        TypeError: a setting that does not exist, or something of another type.
    """

    def __init__(
        self,
        stores: BucketSet | Mapping[str, Store] | Sequence[Store],
        arrays: Sequence[str] = ("latents",),
        options: LoaderOptions | None = None,
        batch_tokens: int | None = None,
        **settings: Any,
    ) -> None:
        by_size = stores.stores if isinstance(stores, BucketSet) else stores
        self.stores = checked_stores(by_size.values() if isinstance(by_size, Mapping) else by_size)
        if not self.stores:
            raise ValueError("stores: expected one store or more; received none")
        self.arrays = array_names(arrays)
        if batch_tokens is not None:
            _check_budget(batch_tokens, options, settings)
        self.options = options = LoaderOptions.of(options, settings, drop_last=False)
        if options.weights is not None:
            raise ValueError("weights: expected none, since every row of every bucket comes once an epoch")
        self._rank = LoaderRank.of(options)
        # By the number of the store.
        self.loaders = {
            number: Loader(
                self.stores[number],
                self.arrays,
                replace(options, rows=rows, batch_size=self._batch_rows(self.stores[number], batch_tokens)),
            )
            for number, rows in self._rows_of_each().items()
        }
        for loader in self.loaders.values():
            self._check_rest(loader)
        self._position = (0, 0)

    @property
    def device(self) -> torch.device:
        """Where batches are delivered."""
        return next(iter(self.loaders.values())).device

    @property
    def position(self) -> tuple[int, int]:
        """Epoch and step of the batch that comes next."""
        return self._position

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, of all stores."""
        return sum(loader.steps_per_epoch for loader in self.loaders.values())

    def schedule(self, epoch: int) -> np.ndarray:
        """The number of the store of each batch of an epoch, int64 (steps_per_epoch,)."""
        counts = [loader.steps_per_epoch for loader in self.loaders.values()]
        in_order = np.repeat(np.array(list(self.loaders)), counts)
        if not self.options.shuffle:
            return in_order
        keys = mix64(np.arange(len(in_order)), combine_seeds(self.options.seed, _BATCH_ORDER, epoch))
        shuffled: np.ndarray = in_order[np.argsort(keys, kind="stable")]
        return shuffled

    def __iter__(self) -> Generator[Batch, None, None]:
        """Batches from the current position on, epoch after epoch."""
        while True:
            epoch, step = self._position
            yield from self._batches(epoch, step, 1)

    def epoch(self, epoch: int, step: int = 0, stride: int = 1) -> EpochBatches:
        """The batches of one epoch, from `step` on, or each `stride`-th of them; its `len` is how many are left.

        Raises:
            ValueError: a step after the epoch's end, a number below 0.
        """
        check_position(epoch, step, stride, self.steps_per_epoch)
        return EpochBatches(self._batches(epoch, step, stride), len(range(step, self.steps_per_epoch, stride)))

    def as_iterable_dataset(self) -> EpochDataset:
        """This loader for torch's DataLoader, Lightning and accelerate, see `EpochDataset`."""
        return EpochDataset(self)

    def mean_std(self, array: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of an array's channels over all stores, each float32 (C,) on `device`."""
        return Selection(self.stores, (), ()).mean_std(array, None, self.device)

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch handed out, and what the order depends on; JSON values."""
        return self.state_at(*self.position)

    def state_at(self, epoch: int, step: int) -> dict[str, Any]:
        """The state of a loader that goes on there."""
        return {"epoch": epoch, "step": step, "order": self._order_facts()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position, at once.

        Raises:
            ValueError: no state, or one of another order (other stores, rows, seed or batch size).
        """
        self._position = saved_position(state, self._order_facts(), self.steps_per_epoch)

    def renew(self) -> None:
        """Drop buffers and locks, which a forked process cannot share with its parent."""
        for loader in self.loaders.values():
            loader.renew()

    def _order_facts(self) -> dict[str, Any]:
        return {
            "shuffle": self.options.shuffle,
            "buckets": {str(number): loader.state_at(0, 0)["order"] for number, loader in self.loaders.items()},
        }

    def _batches(self, epoch: int, step: int, stride: int) -> Generator[Batch, None, None]:
        schedule = self.schedule(epoch)
        numbers = _occurrences(schedule)
        opened: dict[int, tuple[EpochBatches, int]] = {}  # and which of the store's batches comes next
        try:
            for at in range(step, len(schedule), stride):
                store, number = int(schedule[at]), int(numbers[at])
                batches, following = opened.get(store, (None, -1))
                if batches is None or following != number:
                    if batches is not None:
                        batches.close()
                    batches = self.loaders[store].epoch(epoch, number)
                opened[store] = batches, number + 1
                batch = next(batches)
                is_last = at + 1 == len(schedule)
                self._position = (epoch + 1, 0) if is_last else (epoch, at + 1)
                yield {**batch, "store": torch.full_like(batch["row"], store)}
        finally:
            for batches, _ in opened.values():
                batches.close()

    def _rows_of_each(self) -> dict[int, np.ndarray | None]:
        """The given rows, or None for those of the split, by the number of each store that has some."""
        options, count = self.options, len(self.stores)
        given = [None] * count if options.rows is None else list(options.rows)
        if len(given) != count:
            raise ValueError(f"rows: expected one array for each of {count} stores; received {len(given)}")
        for store in self.stores:
            checked_arrays(store, self.arrays)
        found = {
            number: rows
            for number, (store, rows) in enumerate(zip(self.stores, given, strict=True))
            if (len(split_rows(store, options)) if rows is None else np.size(rows))
        }
        if not found:
            wanted = f"the split {options.split!r}" if options.rows is None else "rows="
            raise ValueError(
                f"stores: expected a row of {wanted} in one of {count} at least; received none; choose another split, "
                'such as "all", or other rows'
            )
        return found

    def _batch_rows(self, store: Store, batch_tokens: int | None) -> int:
        """Rows of a global batch of a store."""
        if batch_tokens is None:
            return self.options.batch_size
        tokens = math.prod(checked_arrays(store, self.arrays)[0].row_shape[:-1])
        world = self._rank.world_size
        if batch_tokens < tokens * world:
            raise ValueError(
                f"batch_tokens: expected at least {tokens * world}, a row of {store.url} for each of {world} ranks; "
                f"received {batch_tokens}"
            )
        return batch_tokens // tokens // world * world

    def _check_rest(self, loader: Loader) -> None:
        """Raise ValueError where the last batch of an epoch has fewer rows than there are ranks."""
        rest, world = loader.sampler.num_rows % loader.sampler.batch_size, self._rank.world_size
        if not self.options.drop_last and 0 < rest < world:
            raise ValueError(
                f"batch_size: expected a last batch of at least {world} rows, one for each rank; received {rest} of "
                f"{loader.stores[0].url}; choose another one, or drop_last=True"
            )


def _check_budget(batch_tokens: int, options: LoaderOptions | None, settings: Mapping[str, Any]) -> None:
    """Raise TypeError where it is no number, ValueError where `batch_size` is given, too."""
    check_integer("batch_tokens", batch_tokens, 1)
    is_set = options is not None and options.batch_size != LoaderOptions.batch_size
    if "batch_size" in settings or is_set:
        raise ValueError(f"batch_size: expected none beside batch_tokens {batch_tokens}; received both; give one")


def _occurrences(values: np.ndarray) -> np.ndarray:
    """How often each value came before, int64 (N,)."""
    order = np.argsort(values, kind="stable")
    starts = np.searchsorted(values[order], values[order])
    found = np.empty(len(values), np.int64)
    found[order] = np.arange(len(values)) - starts
    return found
