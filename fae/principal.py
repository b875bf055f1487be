"""Principal components of a covariance, with signs that do not depend on the solver."""

import torch
from torch import Tensor


def principal_components(covariance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest variances (count,), the largest first, and their unit axes (count, C), of a covariance (C, C).

    An axis has two signs; here its largest entry is positive, so that the same covariance gives the same axes.
    """
    variances, vectors = torch.linalg.eigh(covariance)  # ascending, an axis a column
    axes = vectors.T.flip(0)[:count]
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    return variances.flip(0)[:count], axes * largest.sign()
