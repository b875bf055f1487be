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

    @classmethod
    def of(cls, count: int, mean: torch.Tensor, covariance: torch.Tensor) -> "Moments":
        """The moments of `count` rows whose mean (D,) and unbiased covariance (D, D) are known."""
        if count < 2 or covariance.shape != (len(mean), len(mean)):
            raise ValueError(
                f"moments: expected (D,) and (D, D) of at least 2 rows; received {tuple(mean.shape)} and "
                f"{tuple(covariance.shape)} of {count}"
            )
        moments = cls(len(mean))
        moments.count, moments.mean = count, mean.double().clone()
        moments.scatter = covariance.double() * (count - 1)
        return moments

    def update(self, rows: torch.Tensor) -> Self:
        """Add a batch (N, D) from any device; returns itself.

        Raises:
            ValueError: another width, or NaN or inf among the values.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self.mean):
            raise ValueError(f"rows: expected (N, {len(self.mean)}); received {tuple(rows.shape)}")
        if not torch.isfinite(rows).all():
            raise ValueError("rows: expected finite values; received NaN or inf; look for where the model diverged")
        if len(rows) == 0:
            return self
        # Float64 on the CPU: some devices have none.
        rows = rows.detach().cpu().double()
        mean = rows.mean(dim=0)
        rows = rows - mean
        # In place: at 2,048 channels the scatter has 32 MB, and a batch may be small.
        self.scatter.addmm_(rows.T, rows)
        return self._shift(len(rows), mean)

    def merge(self, other: "Moments") -> Self:
        """Add the rows that another accumulator has seen; returns itself."""
        if len(self.mean) != len(other.mean):
            raise ValueError(f"moments: expected width {len(self.mean)}; received {len(other.mean)}")
        if not other.count:
            return self
        self.scatter += other.scatter
        return self._shift(other.count, other.mean)

    @property
    def covariance(self) -> torch.Tensor:
        """Unbiased covariance (D, D), as numpy.cov; needs at least 2 rows."""
        if self.count < 2:
            raise ValueError(f"covariance: expected at least 2 rows; received {self.count}")
        return self.scatter / (self.count - 1)

    def _shift(self, count: int, mean: torch.Tensor) -> Self:
        """Move to the mean of all, once the scatter of `count` rows around their own mean is added."""
        total = self.count + count
        step = mean - self.mean
        self.scatter.addr_(step, step, alpha=self.count * count / total)
        self.mean = self.mean + step * (count / total)
        self.count = total
        return self


class FrechetReference:
    """A Gaussian (`mean` (D,), `covariance` (D, D)) to which many others are compared: its root is taken once."""

    def __init__(self, mean: torch.Tensor, covariance: torch.Tensor) -> None:
        self.mean, self.trace = mean, covariance.trace()
        values, vectors = torch.linalg.eigh(covariance)
        self.root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T

    def distance(self, mean: torch.Tensor, covariance: torch.Tensor) -> float:
        """The squared Fréchet distance to another Gaussian, as `frechet_distance` has it; float64 on the CPU."""
        product = torch.linalg.eigvalsh(self.root @ covariance @ self.root)
        shared = product.clamp(min=0).sqrt().sum()
        distance = (mean - self.mean).square().sum() + covariance.trace() + self.trace - 2 * shared
        return max(float(distance), 0.0)


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
        raise ValueError(f"expected means (D,) and covariances (D, D) of one width; received {shapes}")
    return FrechetReference(mean_a, covariance_a).distance(mean_b, covariance_b)
