"""Which rows make which batch: a pure function of (seed, epoch, step, global batch), whatever the number of ranks."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from stores.format import combine_seeds, explain_difference, mix64
from stores.loader.epoch_orders import EpochOrder
from stores.loader.options import LoaderOptions, check_integer

# Separates the order of batches from the orders of rows, which have the same seed.
_BATCH_ORDER = 11


@dataclass(frozen=True)
class BatchSampler:
    """An epoch order cut into global batches of `batch_size`, of which this rank takes its slice.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    order: EpochOrder
    batch_size: int
    drop_last: bool = True
    rank: int = 0
    world_size: int = 1
    uneven_ranks: bool = False

    def __post_init__(self) -> None:
        fits = 1 <= self.world_size <= self.batch_size
        if not fits or (self.batch_size % self.world_size and not self.uneven_ranks):
            raise ValueError(
                f"batch_size: expected a positive multiple of world_size {self.world_size}; received {self.batch_size}"
            )
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank: expected 0 to {self.world_size - 1}; received {self.rank}")
        if self.drop_last and self.batch_size > self.num_rows:
            raise ValueError(
                f"batch_size: expected at most the number of rows, {self.num_rows}; received {self.batch_size}; "
                "choose a smaller one, or drop_last=False"
            )

    @property
    def num_rows(self) -> int:
        """Rows of an epoch, over all ranks."""
        return self.order.num_rows

    @property
    def steps_per_epoch(self) -> int:
        """Global batches of an epoch."""
        full, rest = divmod(self.num_rows, self.batch_size)
        return full + (0 if self.drop_last or rest == 0 else 1)

    @property
    def delivered_rows(self) -> int:
        """Rows that the batches of an epoch have, over all ranks."""
        return min(self.num_rows, self.steps_per_epoch * self.batch_size)

    def rows_of(self, step: int) -> int:
        """Rows of a global batch."""
        return min(self.batch_size, self.num_rows - step * self.batch_size)

    def rank_mask(self, first: int, last: int) -> np.ndarray:
        """Which of the offsets first to last - 1 this rank reads, bool (last - first,)."""
        offsets = np.arange(first, last)
        if self.world_size == 1:
            return offsets < self.steps_per_epoch * self.batch_size
        step, in_batch = np.divmod(offsets, self.batch_size)
        length = np.minimum(self.batch_size, self.num_rows - step * self.batch_size)
        lower, upper = (length * part // self.world_size for part in (self.rank, self.rank + 1))
        mask: np.ndarray = (step < self.steps_per_epoch) & (lower <= in_batch) & (in_batch < upper)
        return mask


class ScheduledBatch(NamedTuple):
    """A batch of an epoch of several stores: its step, the number of its store, and which of the store's it is."""

    epoch: int
    step: int
    store: int
    number: int


@dataclass(frozen=True)
class BatchSchedule:
    """The order in which batches of several stores come: a pure function of (seed, epoch), drawn anew in each epoch.

    Attributes:
        counts: batches of an epoch, by the number of their store.
        seed: of the order.
        shuffle: False lets the stores come one after the other.
    """

    counts: Mapping[int, int]
    seed: int
    shuffle: bool

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, of all stores."""
        return sum(self.counts.values())

    def stores(self, epoch: int) -> np.ndarray:
        """The number of the store of each batch, int64 (steps_per_epoch,)."""
        in_order = np.repeat(np.array(list(self.counts)), list(self.counts.values()))
        if not self.shuffle:
            return in_order
        keys = mix64(np.arange(len(in_order)), combine_seeds(self.seed, _BATCH_ORDER, epoch))
        shuffled: np.ndarray = in_order[np.argsort(keys, kind="stable")]
        return shuffled

    def batches(self, epoch: int, step: int, endless: bool, stride: int = 1) -> Iterator[ScheduledBatch]:
        """The batches from there on: each `stride`-th to the end of the epoch, or all without end."""
        for current in itertools.count(epoch) if endless else [epoch]:
            stores = self.stores(current)
            numbers, first = _occurrences(stores).tolist(), step if current == epoch else 0
            for at, store in enumerate(stores.tolist()[first::stride]):
                where = first + at * stride
                yield ScheduledBatch(current, where, store, numbers[where])


def _occurrences(values: np.ndarray) -> np.ndarray:
    """How often each value came before, int64 (N,)."""
    order = np.argsort(values, kind="stable")
    starts = np.searchsorted(values[order], values[order])
    found = np.empty(len(values), np.int64)
    found[order] = np.arange(len(values)) - starts
    return found


def equal_batch_rows(rows: int, most: int, least: int) -> int:
    """Rows of each of the fewest equal batches of at most `most`; of fewer ones where these had less than `least`."""
    return min(most, rows // min(-(-rows // most), rows // least))


def check_budget(batch_tokens: int, options: LoaderOptions | None, settings: Mapping[str, Any]) -> None:
    """Raise TypeError where it is no number, ValueError where `batch_size` is given, too."""
    check_integer("batch_tokens", batch_tokens, 1)
    is_set = options is not None and options.batch_size != LoaderOptions.batch_size
    if "batch_size" in settings or is_set:
        raise ValueError(f"batch_size: expected none beside batch_tokens {batch_tokens}; received both; give one")


def check_position(epoch: int, step: int, stride: int, steps_per_epoch: int) -> None:
    """Refuse what is no place in an epoch; its end is one.

    Raises:
        TypeError: no integers.
        ValueError: below 0, a stride below 1, or a step after the epoch's end.
    """
    for name, value, least in (("epoch", epoch, 0), ("step", step, 0), ("stride", stride, 1)):
        check_integer(name, value, least)
    if step > steps_per_epoch:
        raise ValueError(f"step: expected at most {steps_per_epoch}, the batches of an epoch; received {step}")


def saved_position(state: Mapping[str, Any], order: Mapping[str, Any], steps_per_epoch: int) -> tuple[int, int]:
    """Epoch and step of a loader's state, the end of an epoch as the beginning of the next.

    Args:
        state: as of `state_dict`.
        order: what the loader's own order depends on.
        steps_per_epoch: of the loader.

    Raises:
        ValueError: no state of a loader, one of another order, or a position that no epoch has.
        TypeError: a position that is no integers.
    """
    if not isinstance(state, Mapping) or not state.keys() >= {"epoch", "step", "order"}:
        raise ValueError(
            f"loader state: expected epoch, step and order; received {state!r:.80}; give what state_dict() returned"
        )
    changed = explain_difference(state["order"], order)
    if changed:
        raise ValueError(
            f"loader state: expected the order it was saved with; changed: {'; '.join(changed)}; start a new run"
        )
    check_position(state["epoch"], state["step"], 1, steps_per_epoch)
    epoch, step = int(state["epoch"]), int(state["step"])
    return (epoch + 1, 0) if step == steps_per_epoch else (epoch, step)
