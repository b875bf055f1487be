"""Orders of the rows in an epoch, each a pure function of (seed, epoch, offset).

Two kinds of numbers: an *offset* counts the rows of an epoch in the order in which they are delivered; a *position* is
a row's index in the selection, see `Selection`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stores.format import Permutation, combine_seeds

# Positions computed at once: the cost per batch of a vectorized permutation becomes small.
BLOCK_ROWS = 1 << 16


@dataclass(frozen=True)
class Draws:
    """Rows at consecutive offsets of an epoch.

    Attributes:
        positions: int64 (n,).
        visits: how often each row came before, int64 (n,), or the epoch for all of them; a row's random view is a
            function of it.
    """

    positions: np.ndarray
    visits: int | np.ndarray

    def where(self, mask: np.ndarray) -> "Draws":
        """Some of them: a mask, bool (n,)."""
        if mask.all():
            return self
        return Draws(self.positions[mask], self.visits if isinstance(self.visits, int) else self.visits[mask])


class EpochOrder(Protocol):
    """The order of the selection in each epoch."""

    num_rows: int

    def draws(self, epoch: int, first: int, last: int) -> Draws:
        """The rows at the offsets first to last - 1 of the epoch."""

    def windows(self, epoch: int) -> np.ndarray:
        """int64 offsets (0, ..., num_rows) that cut the epoch into parts which fit in memory and are read as one."""


class SequentialOrder:
    """The selection as it is, in every epoch."""

    def __init__(self, num_rows: int, window_rows: int) -> None:
        self.num_rows, self.window_rows = num_rows, window_rows

    def draws(self, epoch: int, first: int, last: int) -> Draws:
        """The offsets themselves."""
        return Draws(np.arange(first, last), epoch)

    def windows(self, epoch: int) -> np.ndarray:
        """Windows of `window_rows`."""
        return even_windows(self.num_rows, self.window_rows)


class FullShuffle:
    """A permutation of all rows."""

    def __init__(self, num_rows: int, seed: int, window_rows: int) -> None:
        self.num_rows, self.seed, self.window_rows = num_rows, seed, window_rows
        self._cache: tuple[tuple[int, int], np.ndarray] = ((-1, -1), np.empty(0, np.int64))

    def draws(self, epoch: int, first: int, last: int) -> Draws:
        """A part of the epoch's permutation, computed in blocks."""
        if first >= last:
            return Draws(np.empty(0, np.int64), epoch)
        blocks = range(first // BLOCK_ROWS, (last - 1) // BLOCK_ROWS + 1)
        start = blocks.start * BLOCK_ROWS
        positions = np.concatenate([self._block(epoch, block) for block in blocks])
        return Draws(positions[first - start : last - start], epoch)

    def windows(self, epoch: int) -> np.ndarray:
        """Windows of `window_rows`."""
        return even_windows(self.num_rows, self.window_rows)

    def _block(self, epoch: int, block: int) -> np.ndarray:
        cached, values = self._cache
        if cached != (epoch, block):
            offsets = np.arange(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, self.num_rows))
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

    def draws(self, epoch: int, first: int, last: int) -> Draws:
        """The shuffled rows of the groups of shards that cover these offsets."""
        if first >= last:
            return Draws(np.empty(0, np.int64), epoch)
        windows = self.windows(epoch)
        groups = range(int(np.searchsorted(windows, first, "right")) - 1, int(np.searchsorted(windows, last, "left")))
        start = int(windows[groups.start])
        positions = np.concatenate([self._positions(epoch, group) for group in groups])
        return Draws(positions[first - start : last - start], epoch)

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
