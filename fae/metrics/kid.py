"""Kernel distance (KID): a two-sample distance without the bias that a Fréchet distance has at small sample counts."""

import torch


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
