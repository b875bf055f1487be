"""KID, precision and recall of two sets of features with bootstrap intervals, from one look at each pair of rows."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fae.metrics.kid import polynomial_kernel
from fae.metrics.neighbors import Rows, as_pair, check_k

STRIPE = 512
RESAMPLES = 200
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value and the bounds of its 95 % bootstrap interval (percentiles)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TwoSamples:
    """Metrics of two sets; `kid` is the squared MMD and may fall slightly below 0."""

    kid: Estimate
    precision: Estimate
    recall: Estimate


def compare_samples(real: Rows, generated: Rows, k: int = 3, seed: int = 0, resamples: int = RESAMPLES) -> TwoSamples:
    """KID, precision and recall of rows (N, D) and (M, D).

    KID is the unbiased estimate over all pairs of rows (`unbiased_mmd2`), which has the expectation of the usual mean
    over subsets and less variance. Its bootstrap draws rows of both sets with replacement and leaves out pairs of one
    row with itself. Precision and recall are as of `knn_recall`; their bootstrap draws the rows that are
    asked for and keeps the manifold. Kernel and distances come from the same inner products, in float64, in stripes:
    10,000 rows a side never need a whole table.

    Raises:
        ValueError: sets of other widths, with NaN or inf, or of not more than k rows.
    """
    real, generated = as_pair(real, generated, dtype=None)
    for rows in (real, generated):
        check_k(k, rows)
    generator = np.random.default_rng(seed)
    x, y = (_Side(rows, _weights(len(rows), resamples, generator)) for rows in (real, generated))
    within_x, radii_x = _within(x, k)
    within_y, radii_y = _within(y, k)
    across, precise, recalled = _across(x, y, radii_x, radii_y)
    values = within_x + within_y - 2 * across
    return TwoSamples(
        Estimate(float(values[0]), *_bounds(values[1:].numpy())),
        _share(precise, resamples, generator),
        _share(recalled, resamples, generator),
    )


@dataclass(frozen=True)
class _Side:
    """Rows (N, D), and how often each is drawn: (1 + resamples, N), the first all ones."""

    rows: torch.Tensor
    weights: torch.Tensor

    @property
    def squares(self) -> torch.Tensor:
        return torch.cat([part.double().square().sum(dim=1) for part in self.rows.split(STRIPE)])


def _weights(count: int, resamples: int, generator: np.random.Generator) -> torch.Tensor:
    drawn = [np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(resamples)]
    return torch.from_numpy(np.stack([np.ones(count), *drawn]))


def _stripes(x: torch.Tensor, y: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Inner products (≤ STRIPE, M) of some rows of x with all of y, in float64; neither is copied as a whole."""
    for start in range(0, len(x), STRIPE):
        span = slice(start, start + STRIPE)
        part = x[span].double()
        yield span, torch.cat([part @ other.double().T for other in y.split(STRIPE)], dim=1)


def _within(side: _Side, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean kernel over pairs of different rows for each resample, and each row's distance² to its k-th neighbor."""
    squares, weights, dim = side.squares, side.weights, side.rows.shape[1]
    total, radii = torch.zeros(len(weights), dtype=torch.float64), []
    for span, products in _stripes(side.rows, side.rows):
        kernel, place = polynomial_kernel(products, dim), torch.arange(len(products))
        kernel[place, place + span.start] = 0
        total += _weighted_sum(kernel, weights[:, span], weights)
        distances = squares[span, None] + squares - 2 * products
        distances[place, place + span.start] = -1  # the row itself comes first, whatever rounding says
        radii.append(distances.kthvalue(k + 1, dim=1).values)
    pairs = weights.sum(dim=1).square() - weights.square().sum(dim=1)
    return total / pairs, torch.cat(radii)


def _across(
    x: _Side, y: _Side, radii_x: torch.Tensor, radii_y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean kernel for each resample; which rows of y lie in the manifold of x, and which of x in that of y."""
    squares_x, squares_y, dim = x.squares, y.squares, x.rows.shape[1]
    total = torch.zeros(len(x.weights), dtype=torch.float64)
    inside_x, inside_y = torch.zeros(len(y.rows), dtype=torch.bool), []
    for span, products in _stripes(x.rows, y.rows):
        total += _weighted_sum(polynomial_kernel(products, dim), x.weights[:, span], y.weights)
        distances = squares_x[span, None] + squares_y - 2 * products
        inside_x |= (distances <= radii_x[span, None]).any(dim=0)
        inside_y.append((distances <= radii_y).any(dim=1))
    return total / (len(x.rows) * len(y.rows)), inside_x, torch.cat(inside_y)


def _weighted_sum(kernel: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Σ_ij w_i K_ij v_j for each resample: K (n, M), w (B, n), v (B, M) -> (B,)."""
    return ((rows @ kernel) * columns).sum(dim=1)


def _share(inside: torch.Tensor, resamples: int, generator: np.random.Generator) -> Estimate:
    """The share of true values; of n draws with replacement a binomial number is true."""
    share = float(inside.double().mean())
    return Estimate(share, *_bounds(generator.binomial(len(inside), share, size=resamples) / len(inside)))


def _bounds(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
