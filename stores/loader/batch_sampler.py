"""Which rows make which batch: a pure function of (seed, epoch, step, global batch), whatever the number of ranks.

Two kinds of numbers: an *offset* counts the rows of an epoch in the order in which they are delivered; a *position* is
a row's index in the selection (`LoaderOptions.rows`).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stores.format import Permutation, combine_seeds

# Positions computed at once: the cost per batch of a vectorized permutation becomes small.
_BLOCK = 1 << 16


class EpochOrder(Protocol):
    """The order of the selection in each epoch."""

    num_rows: int

    def positions(self, epoch: int, first: int, last: int) -> np.ndarray:
        """int64 positions at the offsets first to last - 1 of the epoch."""

    def windows(self, epoch: int) -> np.ndarray:
        """int64 offsets (0, ..., num_rows) that cut the epoch into parts which fit in memory and are read as one."""


class SequentialOrder:
    """The selection as it is, in every epoch."""

    def __init__(self, num_rows: int, window_rows: int) -> None:
        self.num_rows, self.window_rows = num_rows, window_rows

    def positions(self, epoch: int, first: int, last: int) -> np.ndarray:
        """The offsets themselves."""
        return np.arange(first, last)

    def windows(self, epoch: int) -> np.ndarray:
        """Windows of `window_rows`."""
        return even_windows(self.num_rows, self.window_rows)


class FullShuffle:
    """A permutation of all rows."""

    def __init__(self, num_rows: int, seed: int, window_rows: int) -> None:
        self.num_rows, self.seed, self.window_rows = num_rows, seed, window_rows
        self._cache: tuple[tuple[int, int], np.ndarray] = ((-1, -1), np.empty(0, np.int64))

    def positions(self, epoch: int, first: int, last: int) -> np.ndarray:
        """A part of the epoch's permutation, computed in blocks."""
        if first >= last:
            return np.empty(0, np.int64)
        blocks = range(first // _BLOCK, (last - 1) // _BLOCK + 1)
        start = blocks.start * _BLOCK
        return np.concatenate([self._block(epoch, block) for block in blocks])[first - start : last - start]

    def windows(self, epoch: int) -> np.ndarray:
        """Windows of `window_rows`."""
        return even_windows(self.num_rows, self.window_rows)

    def _block(self, epoch: int, block: int) -> np.ndarray:
        cached, values = self._cache
        if cached != (epoch, block):
            offsets = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, self.num_rows))
            values = Permutation(self.num_rows, combine_seeds(self.seed, epoch))(offsets)
            self._cache = ((epoch, block), values)
        return values


class ShardShuffle:
    """Shards in random order, `merge` or more at a time, their rows shuffled together.

    As good as a full shuffle when rows were stored in random order, and read from disk in long runs.
    """

    def __init__(self, shard_of_row: np.ndarray, seed: int, merge: int) -> None:
        self.num_rows, self.seed = len(shard_of_row), seed
        self._by_shard = np.argsort(shard_of_row, kind="stable")
        _, self._starts, self._counts = np.unique(shard_of_row[self._by_shard], return_index=True, return_counts=True)
        self._num_groups = max(1, len(self._starts) // merge)
        self._epoch: tuple[int, np.ndarray, np.ndarray] = (-1, np.empty(0, np.int64), np.empty(0, np.int64))
        self._group: tuple[tuple[int, int], np.ndarray] = ((-1, -1), np.empty(0, np.int64))

    def positions(self, epoch: int, first: int, last: int) -> np.ndarray:
        """The shuffled rows of the groups of shards that cover these offsets."""
        if first >= last:
            return np.empty(0, np.int64)
        windows = self.windows(epoch)
        groups = range(int(np.searchsorted(windows, first, "right")) - 1, int(np.searchsorted(windows, last, "left")))
        start = int(windows[groups.start])
        return np.concatenate([self._positions(epoch, group) for group in groups])[first - start : last - start]

    def windows(self, epoch: int) -> np.ndarray:
        """One window for each group of shards."""
        return self._shards(epoch)[1]

    def _shards(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The permutation of the shards, and the offsets at which groups begin."""
        cached, shards, windows = self._epoch
        if cached != epoch:
            shards = Permutation(len(self._starts), combine_seeds(self.seed, epoch))(np.arange(len(self._starts)))
            ends = np.cumsum(self._counts[shards])
            windows = np.concatenate([[0], ends[self._edges()[1:] - 1]])
            self._epoch = (epoch, shards, windows)
        return shards, windows

    def _edges(self) -> np.ndarray:
        """Where groups begin among the permuted shards; their sizes differ by one shard at most."""
        return np.arange(self._num_groups + 1) * len(self._starts) // self._num_groups

    def _positions(self, epoch: int, group: int) -> np.ndarray:
        cached, rows = self._group
        if cached != (epoch, group):
            edges = self._edges()
            shards = self._shards(epoch)[0][edges[group] : edges[group + 1]]
            rows = np.concatenate([self._by_shard[self._starts[s] : self._starts[s] + self._counts[s]] for s in shards])
            rows = rows[Permutation(len(rows), combine_seeds(self.seed, epoch, group + 1))(np.arange(len(rows)))]
            self._group = ((epoch, group), rows)
        return rows


def even_windows(num_rows: int, window_rows: int) -> np.ndarray:
    """int64 offsets (0, window_rows, ..., num_rows)."""
    return np.append(np.arange(0, num_rows, window_rows), num_rows)


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

    def __post_init__(self) -> None:
        if self.world_size < 1 or self.batch_size < 1 or self.batch_size % self.world_size:
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

    def offsets(self, step: int) -> tuple[int, int]:
        """First and past-the-end offset of this rank's rows of a batch."""
        start = step * self.batch_size
        length = min(self.batch_size, self.num_rows - start)
        first, last = (start + length * part // self.world_size for part in (self.rank, self.rank + 1))
        return first, last

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

    def steps(self, epoch: int, step: int, endless: bool) -> Iterator[tuple[int, int]]:
        """(epoch, step) of the batches from there on: to the end of the epoch, or without end."""
        for number in itertools.count(epoch) if endless else [epoch]:
            for at in range(step if number == epoch else 0, self.steps_per_epoch):
                yield number, at
