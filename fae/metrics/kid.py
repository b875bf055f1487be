"""Kernel distance (KID): a two-sample distance without the bias that a Fréchet distance has at small sample counts."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class KID:
    """Mean and standard deviation of the squared MMD over random subsets; the mean may fall slightly below 0."""

    mean: float
    std: float


def kernel_distance(
    real: torch.Tensor, generated: torch.Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KID:
    """KID of two sets of features (N, D) and (M, D), by seeded subsets drawn without replacement.

    Bińkowski et al. 2018 (arXiv 1801.01401, section 4); 100 subsets of 1,000 rows are its usual setting.

    Raises:
        ValueError: a set is smaller than `subset_size`.
    """
    smaller = min(len(real), len(generated))
    if not 2 <= subset_size <= smaller:
        raise ValueError(f"subset_size: expected 2 to {smaller} (the smaller set's rows); received {subset_size}")
    if subsets < 1:
        raise ValueError(f"subsets: expected at least 1; received {subsets}")
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        rows = generator.choice(len(real), subset_size, replace=False)
        others = generator.choice(len(generated), subset_size, replace=False)
        values.append(unbiased_mmd2(real[torch.from_numpy(rows)], generated[torch.from_numpy(others)]))
    return KID(float(np.mean(values)), float(np.std(values)))


def unbiased_mmd2(x: torch.Tensor, y: torch.Tensor) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (xᵀy/D + 1)³, in float64.

    Gretton et al. 2012 (equation 3): means of the kernel within x and within y without its diagonal, less twice the
    mean across.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"expected (N, D) and (M, D) of at least 2 rows; received {tuple(x.shape)} and {tuple(y.shape)}"
        )
    x, y = x.detach().cpu().double(), y.detach().cpu().double()
    across = _kernel(x, y).mean()
    return float(_mean_off_diagonal(_kernel(x, x)) + _mean_off_diagonal(_kernel(y, y)) - 2 * across)


def polynomial_kernel(products: torch.Tensor, dim: int) -> torch.Tensor:
    """(xᵀy/D + 1)³ of inner products xᵀy of rows of width D (Bińkowski et al. 2018, section 4)."""
    moved = products / dim + 1
    return moved * moved * moved


def _kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return polynomial_kernel(x @ y.T, x.shape[1])


def _mean_off_diagonal(kernel: torch.Tensor) -> torch.Tensor:
    count = len(kernel)
    return (kernel.sum() - kernel.trace()) / (count * (count - 1))
