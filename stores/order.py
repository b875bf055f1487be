"""Shuffled orders as pure functions: a position goes in, a row comes out, nothing of the set's size is stored."""

from functools import cached_property

import numpy as np

_SMALL = 1 << 12
_ROUNDS = 6


def mix64(values: np.ndarray | int, seed: int = 0) -> np.ndarray:
    """A 64-bit hash of each value (SplitMix64's finaliser: Steele, Lea, Flood, OOPSLA 2014, figure 16)."""
    offset = np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    mixed = np.asarray(values).astype(np.uint64) + offset
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def combine_seeds(*seeds: int) -> int:
    """One 64-bit seed out of several integers, each place counting."""
    state = 0
    for seed in seeds:
        state = int(mix64(np.array([state ^ (seed & 0xFFFFFFFFFFFFFFFF)], np.uint64), 1)[0])
    return state


class Permutation:
    """A seeded bijection of range(size): `permutation(positions)` are the rows at those positions.

    Small sizes sort hashes; larger ones run a balanced Feistel network (Luby and Rackoff, 1988) over the next power of
    four and walk in its cycles back into the range, so 10^8 rows need no table.
    """

    def __init__(self, size: int, seed: int) -> None:
        assert size >= 0, size
        self.size, self.seed = size, seed

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """int64 rows (same shape) at int64 positions in [0, size)."""
        positions = np.asarray(positions, np.int64)
        if self.size <= _SMALL:
            return self._table[positions]
        rows = self._encrypt(positions.astype(np.uint64))
        while (outside := rows >= np.uint64(self.size)).any():
            rows[outside] = self._encrypt(rows[outside])
        return rows.astype(np.int64)

    @cached_property
    def _table(self) -> np.ndarray:
        return np.argsort(mix64(np.arange(self.size), self.seed), kind="stable").astype(np.int64)

    @cached_property
    def _half_bits(self) -> int:
        return (max(self.size - 1, 1).bit_length() + 1) // 2

    def _encrypt(self, values: np.ndarray) -> np.ndarray:
        bits, mask = np.uint64(self._half_bits), np.uint64((1 << self._half_bits) - 1)
        left, right = values >> bits, values & mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (mix64(right, combine_seeds(self.seed, turn)) & mask)
        return (left << bits) | right
