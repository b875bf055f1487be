"""The kernel distance against scikit-learn's polynomial kernel, and its lack of bias."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel

from fae.metrics import kernel_distance, unbiased_mmd2


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


def test_farther_sets_have_a_larger_distance() -> None:
    real = features(200, 0)
    near, far = (kernel_distance(real, features(200, 1, shift), subsets=10, subset_size=100) for shift in (0.2, 1.0))
    assert 0 < near.mean < far.mean
    assert near.std > 0


def test_the_subsets_follow_the_seed() -> None:
    x, y = features(50, 0), features(60, 1)
    first, again, other = (kernel_distance(x, y, subsets=3, subset_size=20, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_whole_sets_as_subsets_have_no_spread() -> None:
    x, y = features(30, 0), features(30, 1)
    result = kernel_distance(x, y, subsets=4, subset_size=30)
    assert result.mean == pytest.approx(unbiased_mmd2(x, y))
    assert result.std == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("subsets", "subset_size", "message"), [(1, 31, "2 to 30"), (0, 10, "at least 1")])
def test_subsets_that_do_not_fit_are_refused(subsets: int, subset_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernel_distance(features(30, 0), features(40, 1), subsets=subsets, subset_size=subset_size)


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 rows"):
        unbiased_mmd2(features(1, 0), features(5, 1))
