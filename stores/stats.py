"""Exact per-channel mean and standard deviation, from sums that each shard's commit record keeps."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from stores.commit import ArrayCommit

# Rows summed at once: keeps the float64 copy near the size of a cache.
_BLOCK_VALUES = 1 << 18


@dataclass(frozen=True)
class Statistics:
    """Over all ok rows, views and positions: `mean` and `std` float64 (C,), `count` values in each channel."""

    mean: np.ndarray
    std: np.ndarray
    count: int

    def to_json(self) -> dict[str, Any]:
        """Plain lists."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist(), "count": self.count}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Statistics":
        """The statistics that `to_json` wrote."""
        return cls(np.array(data["mean"], np.float64), np.array(data["std"], np.float64), int(data["count"]))


def channel_sums(values: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Count, sums and sums of squares in float64 over all axes but the last: values (..., C) -> int, (C,), (C,)."""
    flat = values.reshape(-1, values.shape[-1])  # (..., C) -> (M, C)
    sums, squares = np.zeros(flat.shape[1]), np.zeros(flat.shape[1])
    step = max(1, _BLOCK_VALUES // flat.shape[1])
    with np.errstate(invalid="ignore"):
        for start in range(0, len(flat), step):
            block = flat[start : start + step].astype(np.float64)
            sums += block.sum(axis=0)
            squares += np.einsum("mc,mc->c", block, block)
    return len(flat), sums, squares


def combine(parts: list[ArrayCommit]) -> Statistics:
    """Mean and (population) standard deviation out of shard sums, added with one rounding (math.fsum)."""
    count = sum(part.count for part in parts)
    sums = _exact_sum([part.sums for part in parts])
    squares = _exact_sum([part.squares for part in parts])
    mean = sums / count
    variance = np.maximum(squares / count - mean**2, 0)
    return Statistics(mean, np.sqrt(variance), count)


def _exact_sum(rows: list[np.ndarray]) -> np.ndarray:
    return np.array([math.fsum(column) for column in np.stack(rows).T])
