"""Shuffled orders as pure functions: a position goes in, a row comes out, nothing of the set's size is stored."""

from functools import cached_property

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK64 = (1 << 64) - 1
_TABLE_SIZE = 1 << 12
_ROUNDS = 4


def mix64(values: np.ndarray, seed: int | np.ndarray = 0) -> np.ndarray:
    """A 64-bit hash of each value (SplitMix64: Steele, Lea, Flood, OOPSLA 2014, figure 16), as uint64.

    The seed is one for all values, or uint64, one for each.
    """
    whole = isinstance(seed, int)
    offset = np.uint64(((seed + 1) * _GOLDEN) & _MASK64) if whole else (seed + np.uint64(1)) * np.uint64(_GOLDEN)
    mixed: np.ndarray = np.asarray(values).astype(np.uint64) + offset
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_FIRST)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_SECOND)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def splitmix64(state: int) -> int:
    """The output function of SplitMix64: a bijection of 64-bit integers; higher bits are dropped first."""
    state &= _MASK64
    state = ((state ^ (state >> 30)) * _FIRST) & _MASK64
    state = ((state ^ (state >> 27)) * _SECOND) & _MASK64
    return state ^ (state >> 31)


def combine_seeds(*seeds: int) -> int:
    """One 64-bit seed out of several integers, whose order counts."""
    state = 0
    for seed in seeds:
        state = splitmix64((state ^ (seed & _MASK64)) + 2 * _GOLDEN)
    return state


class Permutation:
    """A seeded bijection of range(size): `permutation(positions)` are the rows at those positions.

    Small sizes sort hashes; larger ones run an unbalanced Feistel network (Luby and Rackoff, 1988; Schneier and Kelsey,
    1996) over the next power of two and walk in its cycles back into the range, so 10^8 rows need no table. It is for
    shuffling, not for hiding.

    Raises:
        ValueError: more rows than 32 bits can number.
    """

    def __init__(self, size: int, seed: int) -> None:
        if not 0 <= size <= 1 << 32:
            raise ValueError(f"rows: expected at most {1 << 32}; received {size}")
        self.size, self.seed = size, seed

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """int64 rows (same shape) at int64 positions in [0, size)."""
        positions = np.asarray(positions, np.int64)
        if self.size <= _TABLE_SIZE:
            return np.asarray(self._table[positions])
        rows = self._encrypt(positions.reshape(-1).astype(np.uint32))
        while len(outside := np.flatnonzero(rows >= self.size)):
            rows[outside] = self._encrypt(rows[outside])
        return rows.astype(np.int64).reshape(positions.shape)

    @cached_property
    def _table(self) -> np.ndarray:
        return np.argsort(mix64(np.arange(self.size), self.seed), kind="stable").astype(np.int64)

    @cached_property
    def _keys(self) -> list[tuple[np.uint32, ...]]:
        """Two odd multipliers and an offset for each half round."""
        words = [combine_seeds(self.seed, number) for number in range(4 * _ROUNDS)]
        return [
            (np.uint32(w & 0xFFFFFFFF | 1), np.uint32(w >> 32 | 1), np.uint32((w >> 16) & 0xFFFFFFFF)) for w in words
        ]

    def _encrypt(self, values: np.ndarray) -> np.ndarray:
        bits = (self.size - 1).bit_length()
        left_bits, right_bits = bits // 2, bits - bits // 2
        left, right = values >> np.uint32(right_bits), values & np.uint32((1 << right_bits) - 1)
        for turn in range(_ROUNDS):
            left = left ^ _round(right, left_bits, *self._keys[2 * turn])
            right = right ^ _round(left, right_bits, *self._keys[2 * turn + 1])
        return (left << np.uint32(right_bits)) | right


def _round(half: np.ndarray, bits: int, first: np.uint32, second: np.uint32, offset: np.uint32) -> np.ndarray:
    """`bits` pseudo-random bits of each half: multiply, fold, multiply, and take the upper bits."""
    mixed = (half + offset) * first
    mixed ^= mixed >> np.uint32(15)
    mixed *= second
    return mixed >> np.uint32(32 - bits)
