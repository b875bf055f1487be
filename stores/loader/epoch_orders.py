"""Orders of a selection's rows within an epoch, worked out piece by piece; each is a pure function of its arguments."""

from typing import Protocol

import numpy as np

from stores.format import Permutation, combine_seeds

# Positions worked out at once: the cost per batch of a vectorised permutation becomes small.
_BLOCK = 1 << 16


class Sequence(Protocol):
    """The rows of each epoch as positions in the selection."""

    num_rows: int

    def positions(self, epoch: int, first: int, last: int) -> np.ndarray:
        """int64 positions in the selection at places first to last - 1 of the epoch."""

    def windows(self, epoch: int) -> np.ndarray:
        """int64 places (0, ..., num_rows) that cut the epoch into parts which fit in memory and are read as one."""


class InOrder:
    """The selection as it is, in every epoch."""

    def __init__(self, num_rows: int, window_rows: int) -> None:
        self.num_rows, self.window_rows = num_rows, window_rows

    def positions(self, epoch: int, first: int, last: int) -> np.ndarray:
        return np.arange(first, last)

    def windows(self, epoch: int) -> np.ndarray:
        return _even_windows(self.num_rows, self.window_rows)


class FullShuffle:
    """Every order of all rows is possible."""

    def __init__(self, num_rows: int, seed: int, window_rows: int) -> None:
        self.num_rows, self.seed, self.window_rows = num_rows, seed, window_rows
        self._cache: tuple[tuple[int, int], np.ndarray] = ((-1, -1), np.empty(0, np.int64))

    def positions(self, epoch: int, first: int, last: int) -> np.ndarray:
        if first >= last:
            return np.empty(0, np.int64)
        blocks = range(first // _BLOCK, (last - 1) // _BLOCK + 1)
        offset = blocks.start * _BLOCK
        return np.concatenate([self._block(epoch, block) for block in blocks])[first - offset : last - offset]

    def windows(self, epoch: int) -> np.ndarray:
        return _even_windows(self.num_rows, self.window_rows)

    def _block(self, epoch: int, block: int) -> np.ndarray:
        cached, values = self._cache
        if cached != (epoch, block):
            places = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, self.num_rows))
            values = Permutation(self.num_rows, combine_seeds(self.seed, epoch))(places)
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
        if first >= last:
            return np.empty(0, np.int64)
        windows = self.windows(epoch)
        groups = range(int(np.searchsorted(windows, first, "right")) - 1, int(np.searchsorted(windows, last, "left")))
        offset = int(windows[groups.start])
        return np.concatenate([self._rows(epoch, group) for group in groups])[first - offset : last - offset]

    def windows(self, epoch: int) -> np.ndarray:
        return self._plan(epoch)[1]

    def _plan(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of the shards, and the places where groups begin."""
        cached, order, windows = self._epoch
        if cached != epoch:
            order = Permutation(len(self._starts), combine_seeds(self.seed, epoch))(np.arange(len(self._starts)))
            ends = np.cumsum(self._counts[order])
            windows = np.concatenate([[0], ends[self._edges()[1:] - 1]])
            self._epoch = (epoch, order, windows)
        return order, windows

    def _edges(self) -> np.ndarray:
        """Where groups begin in the order of shards; their sizes differ by one shard at most."""
        return np.arange(self._num_groups + 1) * len(self._starts) // self._num_groups

    def _rows(self, epoch: int, group: int) -> np.ndarray:
        cached, rows = self._group
        if cached != (epoch, group):
            order, _ = self._plan(epoch)
            edges = self._edges()
            shards = order[edges[group] : edges[group + 1]]
            rows = np.concatenate([self._by_shard[self._starts[s] : self._starts[s] + self._counts[s]] for s in shards])
            rows = rows[Permutation(len(rows), combine_seeds(self.seed, epoch, group + 1))(np.arange(len(rows)))]
            self._group = ((epoch, group), rows)
        return rows


def _even_windows(num_rows: int, window_rows: int) -> np.ndarray:
    return np.append(np.arange(0, num_rows, window_rows), num_rows)
