"""Spearman's rank correlation, with the share of random orders that correlate as strongly."""

from dataclasses import dataclass

import numpy as np

PERMUTATIONS = 10_000


@dataclass(frozen=True)
class RankCorrelation:
    """`value` from -1 to 1; `p_value` of no relation, two-sided, by permutations."""

    value: float
    p_value: float


def rank_correlation(x: np.ndarray, y: np.ndarray, seed: int = 0) -> RankCorrelation:
    """Spearman's correlation of two series (N,); equal values have the mean of their ranks.

    Raises:
        ValueError: series of other lengths or of fewer than 3 values, or with NaN.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 3 or np.isnan(x).any() or np.isnan(y).any():
        raise ValueError(f"ranks: expected two series of 3 or more numbers; received {x.shape} and {y.shape}")
    first, second = (_standardized(_ranks(values)) for values in (x, y))
    value = float(first @ second)
    draws = np.random.default_rng(seed).permuted(np.tile(second, (PERMUTATIONS, 1)), axis=1)
    as_strong = int((np.abs(draws @ first) >= abs(value) - 1e-12).sum())
    return RankCorrelation(value, (as_strong + 1) / (PERMUTATIONS + 1))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; of equal values their mean."""
    smaller = (values[None] < values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    ranks: np.ndarray = smaller + (equal - 1) / 2
    return ranks


def _standardized(values: np.ndarray) -> np.ndarray:
    """Of mean 0 and norm 1; 0 where all are equal."""
    centered = values - values.mean()
    norm = float(np.linalg.norm(centered))
    result: np.ndarray = centered / norm if norm else centered
    return result
