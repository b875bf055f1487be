"""Shuffled orders as pure functions: a position goes in, a row comes out, nothing of the set's size is stored."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK64 = (1 << 64) - 1
_SORTED_SIZE, _TABLE_SIZE = 1 << 12, 1 << 16
_ROUNDS = 4
_FOLD = np.array(15, np.uint32)
# Values encrypted at once, in place: fresh memory for each step costs several times what is computed in it.
_BLOCK = 1 << 14


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
    1996) over the next power of two and walk in its cycles back into the range: up to 2^16 rows by a table of it, while
    10^8 rows need no table. It is for shuffling, not for hiding.

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
        rows = self._encrypted(positions.reshape(-1).astype(np.uint32))
        self._walk(rows, self._encrypted)
        return rows.astype(np.int64).reshape(positions.shape)

    @cached_property
    def _table(self) -> np.ndarray:
        if self.size <= _SORTED_SIZE:
            return np.argsort(mix64(np.arange(self.size), self.seed), kind="stable").astype(np.int64)
        network = self._encrypted(np.arange(1 << self._bits, dtype=np.uint32))
        rows = network[: self.size].astype(np.int64)
        self._walk(rows, network.__getitem__)
        return rows

    def _walk(self, rows: np.ndarray, follow: Callable[[np.ndarray], np.ndarray]) -> None:
        """Follow the rows that are out of range to the next one of their cycle that is not, in place."""
        outside = np.flatnonzero(rows >= self.size)
        while len(outside):
            walked = follow(rows[outside])
            rows[outside] = walked
            outside = outside[walked >= self.size]

    @property
    def _bits(self) -> int:
        return (self.size - 1).bit_length()

    @cached_property
    def _keys(self) -> list[tuple[np.ndarray, ...]]:
        """Two odd multipliers and an offset for each half round, uint32 (), which numpy takes quicker than numbers."""
        words = [combine_seeds(self.seed, number) for number in range(2 * _ROUNDS)]
        keys = [(word & 0xFFFFFFFF | 1, word >> 32 | 1, (word >> 16) & 0xFFFFFFFF) for word in words]
        return [tuple(np.array(number, np.uint32) for number in key) for key in keys]

    def _encrypted(self, values: np.ndarray) -> np.ndarray:
        """Encrypt values, uint32 (n,), in place."""
        room = np.empty((3, min(len(values), _BLOCK)), np.uint32)
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK]
            self._encrypt_block(block, *room[:, : len(block)])
        return values

    def _encrypt_block(self, right: np.ndarray, left: np.ndarray, mixed: np.ndarray, folded: np.ndarray) -> None:
        """Encrypt the values in `right`, in place; the other arrays are room to compute in."""
        left_bits, right_bits = self._bits // 2, self._bits - self._bits // 2
        np.right_shift(right, np.uint32(right_bits), out=left)
        right &= np.uint32((1 << right_bits) - 1)
        for turn in range(0, 2 * _ROUNDS, 2):
            left ^= _round(right, left_bits, self._keys[turn], mixed, folded)
            right ^= _round(left, right_bits, self._keys[turn + 1], mixed, folded)
        left <<= np.uint32(right_bits)
        right |= left


def _round(
    half: np.ndarray, bits: int, key: tuple[np.ndarray, ...], mixed: np.ndarray, folded: np.ndarray
) -> np.ndarray:
    """`bits` pseudo-random bits of each half, in `mixed`: multiply, fold, multiply, and take the upper bits."""
    first, second, offset = key
    np.add(half, offset, out=mixed)
    mixed *= first
    np.right_shift(mixed, _FOLD, out=folded)
    mixed ^= folded
    mixed *= second
    mixed >>= np.uint32(32 - bits)
    return mixed
