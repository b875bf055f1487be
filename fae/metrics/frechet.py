"""Fréchet distance between two Gaussians, from moments that are gathered batch by batch."""

from typing import Self

import torch


class Moments:
    """Exact mean and covariance of rows (N, D) that arrive in batches, in float64.

    Batches are merged by Chan et al.'s pairwise update, so no row is kept and no precision is lost to large means.
    `count` rows, `mean` (D,), `scatter` (D, D) = Σ (x − mean)(x − mean)ᵀ.
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64)

    def update(self, rows: torch.Tensor) -> Self:
        """Add a batch (N, D) from any device; returns itself.

        Raises:
            ValueError: another width, or NaN or inf among the values.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self.mean):
            raise ValueError(f"rows: expected (N, {len(self.mean)}), got {tuple(rows.shape)}")
        if not torch.isfinite(rows).all():
            raise ValueError("rows: expected finite values, got NaN or inf; look for where the model diverged")
        if len(rows) == 0:
            return self
        # Float64 on the CPU: some devices have none.
        rows = rows.detach().cpu().double()
        mean = rows.mean(dim=0)
        centred = rows - mean
        return self._merge(len(rows), mean, centred.T @ centred)

    def merge(self, other: "Moments") -> Self:
        """Add the rows that another accumulator has seen; returns itself."""
        if len(self.mean) != len(other.mean):
            raise ValueError(f"moments: expected width {len(self.mean)}, got {len(other.mean)}")
        return self._merge(other.count, other.mean, other.scatter) if other.count else self

    @property
    def covariance(self) -> torch.Tensor:
        """Unbiased covariance (D, D), as numpy.cov; needs at least 2 rows."""
        if self.count < 2:
            raise ValueError(f"covariance: expected at least 2 rows, got {self.count}")
        return self.scatter / (self.count - 1)

    def _merge(self, count: int, mean: torch.Tensor, scatter: torch.Tensor) -> Self:
        total = self.count + count
        step = mean - self.mean
        self.scatter = self.scatter + scatter + torch.outer(step, step) * (self.count * count / total)
        self.mean = self.mean + step * (count / total)
        self.count = total
        return self


def frechet_distance(
    mean_a: torch.Tensor, covariance_a: torch.Tensor, mean_b: torch.Tensor, covariance_b: torch.Tensor
) -> float:
    """Squared Fréchet distance of two Gaussians: ‖μa − μb‖² + tr(Σa + Σb − 2 (Σa Σb)^½).

    Heusel et al. 2017 (arXiv 1706.08500, equation 6). The trace of the root is Σ √λ over the eigenvalues of the
    symmetric √Σa Σb √Σa, which equal those of Σa Σb: real and never negative but for rounding, which is cut off.
    That needs no general matrix square root, whose imaginary rest makes FIDs differ. Everything in float64.
    """
    mean_a, covariance_a, mean_b, covariance_b = (
        torch.as_tensor(value).cpu().double() for value in (mean_a, covariance_a, mean_b, covariance_b)
    )
    dim = len(mean_a)
    shapes = [tuple(value.shape) for value in (mean_a, covariance_a, mean_b, covariance_b)]
    if shapes != [(dim,), (dim, dim)] * 2:
        raise ValueError(f"expected means (D,) and covariances (D, D) of one width, got {shapes}")
    values, vectors = torch.linalg.eigh(covariance_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = torch.linalg.eigvalsh(root @ covariance_b @ root)
    shared = product.clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * shared
    return max(float(distance), 0.0)
