"""Exact per-channel mean and standard deviation, from sums that each shard's commit record keeps."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stores.format.commit import Sums
from stores.format.dtypes import decode
from stores.format.ragged import token_counts
from stores.format.spec import ArraySpec

# Values summed at once: their float64 copy stays in a core's cache. The last bits of the sums depend on it.
_BLOCK_VALUES = 1 << 16
_LINE_VALUES = 1 << 10


@dataclass(frozen=True)
class Statistics:
    """Over all ok rows, views and positions: `mean` and `std` float64 (C,), `count` values in each channel.

    Of moments also `variance`, float64 (C/2,): E[exp(log variance)] per channel; None in stores written before it was
    summed.
    """

    mean: np.ndarray
    std: np.ndarray
    count: int
    variance: np.ndarray | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain lists."""
        variance = {} if self.variance is None else {"variance": self.variance.tolist()}
        return {"mean": self.mean.tolist(), "std": self.std.tolist(), "count": self.count, **variance}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Statistics":
        """The statistics that `to_json` wrote."""
        variance = np.array(data["variance"], np.float64) if "variance" in data else None
        return cls(np.array(data["mean"], np.float64), np.array(data["std"], np.float64), int(data["count"]), variance)


def channel_sums(
    spec: ArraySpec, parts: Mapping[str, np.ndarray], ok: np.ndarray, sums_variances: bool = False
) -> Sums:
    """Float64 sums over the ok rows of a shard's stored parts, each (rows, views, ...), and over all axes but the last.

    A NaN or infinity in an ok row makes some sum NaN or infinite, and so does a log variance too large for exp. Of a
    ragged array the tokens (tokens, ...) and spans are given; each sequence counts, also where several share tokens.
    """
    if spec.is_ragged:
        return _token_sums(spec, parts, ok)
    if spec.dtype == "uint8" and len(spec.row_shape) > 1:
        return _byte_sums(parts[spec.name], ok)
    sums, squares, half = np.zeros(spec.channels), np.zeros(spec.channels), spec.channels // 2
    variances = np.zeros(half) if sums_variances else None
    add_up = _HalfSums(spec) if spec.dtype == "float16" else _block_sums
    with np.errstate(invalid="ignore", over="ignore"):
        for block in _blocks(spec, parts, ok):
            block_sums, block_squares = add_up(block)
            sums += block_sums
            squares += block_squares
            if variances is not None:
                variances += np.exp(block[:, half:].astype(np.float64)).sum(axis=0)
    per_row = math.prod(parts[spec.parts[0].name].shape[1:]) // spec.channels
    return Sums(int(ok.sum()) * per_row, sums, squares, variances)


def _token_sums(spec: ArraySpec, parts: Mapping[str, np.ndarray], ok: np.ndarray) -> Sums:
    """The same for tokens, each as often as sequences of ok rows hold it."""
    counts = token_counts(parts[spec.spans][ok], len(parts[spec.name]))
    token, total = ArraySpec(spec.name, spec.row_shape[1:], spec.dtype), 0
    sums, squares = np.zeros(spec.channels), np.zeros(spec.channels)
    for times in np.unique(counts[counts > 0]).tolist():
        found = channel_sums(token, {part.name: parts[part.name] for part in token.parts}, counts == times)
        sums, squares, total = sums + times * found.sums, squares + times * found.squares, total + times * found.count
    return Sums(total, sums, squares)


def _byte_sums(values: np.ndarray, ok: np.ndarray) -> Sums:
    """The same for uint8 (rows, ..., W, C), a whole line of an image at a time: adding up 3 channels alone is slow.

    Sums of 256 squares of bytes stay below 2^24, so float32 holds them exactly.
    """
    width, channels = values.shape[-2:]
    sums, squares = np.zeros(width * channels), np.zeros(width * channels)
    for row in np.flatnonzero(ok):
        lines = values[row].reshape(-1, width * channels)  # (..., W, C) -> (M, W*C)
        for start in range(0, len(lines), 256):
            block = lines[start : start + 256].astype(np.float32)
            ones = np.ones(len(block), np.float32)
            sums += ones @ block
            squares += ones @ np.square(block, out=block)
    per_row = math.prod(values.shape[1:]) // channels
    totals = [line.reshape(width, channels).sum(axis=0) for line in (sums, squares)]  # (W*C,) -> (C,)
    return Sums(int(ok.sum()) * per_row, *totals)


def combine(parts: Sequence[Sums]) -> Statistics:
    """Mean and (population) standard deviation out of shard sums, added with one rounding (math.fsum)."""
    count = sum(part.count for part in parts)
    total = max(1, count)  # sequences may all be empty
    mean = _exact_sum([part.sums for part in parts]) / total
    variance = np.maximum(_exact_sum([part.squares for part in parts]) / total - mean**2, 0)
    exponentials = [part.variances for part in parts if part.variances is not None]
    of_moments = _exact_sum(exponentials) / total if len(exponentials) == len(parts) else None
    return Statistics(mean, np.sqrt(variance), count, of_moments)


def merge(parts: Sequence[Statistics], weights: np.ndarray) -> Statistics:
    """Statistics of several sets of rows as of one.

    Args:
        parts: Of each set.
        weights: Share of each set's values, (parts,); the counts where each value counts alike.
    """
    share = (np.asarray(weights, np.float64) / np.sum(weights))[:, None]
    means, stds = np.stack([one.mean for one in parts]), np.stack([one.std for one in parts])
    mean = (share * means).sum(axis=0)
    variance = (share * (stds**2 + (means - mean) ** 2)).sum(axis=0)
    exponentials = [one.variance for one in parts if one.variance is not None]
    of_moments = (share * np.stack(exponentials)).sum(axis=0) if len(exponentials) == len(parts) else None
    return Statistics(mean, np.sqrt(variance), sum(one.count for one in parts), of_moments)


def _blocks(spec: ArraySpec, parts: Mapping[str, np.ndarray], ok: np.ndarray) -> Iterator[np.ndarray]:
    """The decoded ok values (m, C), a cacheful at a time."""
    tokens = {part.name: _by_token(part.row_shape, spec, parts[part.name]) for part in spec.parts}
    per_row = len(tokens[spec.name]) // len(ok)
    step = _tokens_at_once(spec)
    edges = np.flatnonzero(np.diff(ok, prepend=False, append=False))  # first and past-the-end rows of each ok run
    for first, past in edges.reshape(-1, 2) * per_row:
        stop = int(past)
        for start in range(int(first), stop, step):
            piece = {name: values[start : min(start + step, stop)] for name, values in tokens.items()}
            yield decode(spec, piece)


def _tokens_at_once(spec: ArraySpec) -> int:
    return max(1, _BLOCK_VALUES // spec.channels)


def _block_sums(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m, C) -> float64 (C,) sums and sums of squares, added token after token."""
    exact = block.astype(np.float64)
    return exact.sum(axis=0), np.einsum("mc,mc->c", exact, exact)


class _HalfSums:
    """The same for float16, bit for bit, several times as fast: numpy converts float16 one by one.

    The bits of a float16, moved to where a float32 has its exponent and mantissa, are its value times 2^-112, also when
    it is subnormal. Float64 holds the sums of those, and of their squares, with the same bits but for the exponent.
    Infinities and NaN alone are no such numbers: they come out as 2^-96 and more, and take the slow way.
    """

    _SHIFT = np.int32(23 - 10)  # from float16's mantissa bits to float32's
    _KEPT = np.int32(-0x70002000)  # sign, exponent and mantissa; not the copies of the sign
    _SCALE = 2.0**112
    _SUSPICIOUS = 2.0**-192

    def __init__(self, spec: ArraySpec) -> None:
        shape = (_tokens_at_once(spec), spec.channels)
        # Used again for every block: new memory for each costs as much as the sums.
        self._bits, self._exact = np.empty(shape, np.int32), np.empty(shape, np.float64)
        self._fold = math.gcd(shape[0], max(1, _LINE_VALUES // spec.channels)) if spec.channels >= 8 else 1

    def __call__(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bits, exact = self._bits[: len(block)], self._exact[: len(block)]
        np.copyto(bits, block.view(np.int16))
        np.left_shift(bits, self._SHIFT, out=bits)
        np.bitwise_and(bits, self._KEPT, out=bits)
        np.copyto(exact, bits.view(np.float32))
        squares = np.einsum("mc,mc->c", exact, exact)
        if squares.max() >= self._SUSPICIOUS and not np.isfinite(block).all():
            return _block_sums(block)
        return self._sums(exact) * self._SCALE, squares * self._SCALE**2

    def _sums(self, exact: np.ndarray) -> np.ndarray:
        """(m, C) -> (C,) in any order, a long line at a time: adding up 32 channels alone is slow.

        Float16 values are multiples of 2^-24, and 8192 of them stay below 2^29: no such sum is rounded in 53 bits.
        """
        tokens, channels = exact.shape
        fold = self._fold if tokens % self._fold == 0 else 1
        folded: np.ndarray = exact.reshape(-1, fold * channels).sum(axis=0)  # (m, C) -> (m/fold, fold*C) -> (fold*C,)
        return folded.reshape(fold, channels).sum(axis=0) if fold > 1 else folded


def _by_token(row_shape: tuple[int, ...], spec: ArraySpec, values: np.ndarray) -> np.ndarray:
    """(rows, views, ..., C) -> (tokens, C), and scales (rows, views, ...) -> (tokens,), of groups (tokens, groups)."""
    return values.reshape(-1, row_shape[-1]) if len(row_shape) == len(spec.row_shape) else values.reshape(-1)


def _exact_sum(rows: list[np.ndarray]) -> np.ndarray:
    return np.array([math.fsum(column) for column in np.stack(rows).T])
