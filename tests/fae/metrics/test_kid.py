"""The kernel distance against scikit-learn's polynomial kernel, and its lack of bias."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel

from fae.metrics import unbiased_mmd2


def features(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) + shift


def test_it_equals_the_kernel_sums() -> None:
    x, y = features(12, 0), features(9, 1, 0.3)
    within_x, within_y, across = (
        polynomial_kernel(a, b, degree=3, gamma=1 / 6, coef0=1) for a, b in ((x, x), (y, y), (x, y))
    )
    expected = within_x[~np.eye(12, dtype=bool)].mean() + within_y[~np.eye(9, dtype=bool)].mean() - 2 * across.mean()
    assert unbiased_mmd2(x, y) == pytest.approx(expected, rel=1e-5)


def test_it_is_unbiased_at_small_counts() -> None:
    """Over many pairs of equal distributions the mean is 0 within four standard errors, though each has 10 rows."""
    values = np.array([unbiased_mmd2(features(10, 2 * seed), features(10, 2 * seed + 1)) for seed in range(400)])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    assert (values < 0).any()


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 rows"):
        unbiased_mmd2(features(1, 0), features(5, 1))
