"""Moments against numpy, the Fréchet distance against scipy's matrix square root and closed forms."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from fae.metrics import Moments, frechet_distance


def features(count: int, dim: int, seed: int = 0, offset: float = 0.0) -> torch.Tensor:
    """Correlated rows around a mean far from 0."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=generator)
    return torch.randn(count, dim, generator=generator) @ mix + offset


@given(sizes=st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) >= 2))
def test_moments_do_not_depend_on_the_batches(sizes: list[int]) -> None:
    rows = features(sum(sizes), 4, offset=1000.0)
    moments = Moments(4)
    for batch in rows.split(sizes):
        moments.update(batch)
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, rows.double().mean(dim=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.double().numpy().T), rtol=1e-9, atol=1e-9)


def test_merged_moments_equal_those_of_all_rows() -> None:
    rows = features(60, 3)
    merged = Moments(3).update(rows[:25]).merge(Moments(3).update(rows[25:])).merge(Moments(3))
    whole = Moments(3).update(rows)
    assert merged.count == 60
    torch.testing.assert_close(merged.mean, whole.mean)
    torch.testing.assert_close(merged.covariance, whole.covariance)


def scipy_distance(a: Moments, b: Moments) -> float:
    root = scipy.linalg.sqrtm((a.covariance @ b.covariance).numpy()).real
    shift = float((a.mean - b.mean).square().sum())
    return shift + float(a.covariance.trace() + b.covariance.trace()) - 2 * float(np.trace(root))


@pytest.mark.parametrize("dim", [1, 8, 64])
def test_the_distance_equals_scipy_on_well_conditioned_cases(dim: int) -> None:
    a, b = (Moments(dim).update(features(500, dim, seed, offset)) for seed, offset in ((0, 0.0), (1, 0.5)))
    ours = frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    assert ours == pytest.approx(scipy_distance(a, b), rel=1e-8)


def test_commuting_covariances_have_a_closed_form() -> None:
    """With diagonal covariances the distance is Σ (μa − μb)² + (σa − σb)²."""
    sigma_a, sigma_b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 0.5])
    distance = frechet_distance(torch.zeros(3), torch.diag(sigma_a**2), torch.ones(3), torch.diag(sigma_b**2))
    assert distance == pytest.approx(3 + 1 + 0 + 6.25)


def test_a_singular_covariance_is_fine() -> None:
    """Fewer rows than channels: the root has zero eigenvalues, where the general square root breaks down."""
    a, b = (Moments(40).update(features(10, 40, seed)) for seed in (0, 1))
    same = frechet_distance(a.mean, a.covariance, a.mean, a.covariance)
    forth = frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    back = frechet_distance(b.mean, b.covariance, a.mean, a.covariance)
    assert same == pytest.approx(0, abs=1e-4 * float(a.covariance.trace()))
    assert forth > 1
    assert forth == pytest.approx(back, rel=1e-6)


def test_rows_and_moments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 3\); received \(2, 4\)"):
        Moments(3).update(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="NaN or inf"):
        Moments(1).update(torch.tensor([[float("nan")]]))
    with pytest.raises(ValueError, match="at least 2 rows; received 1"):
        _ = Moments(2).update(torch.zeros(1, 2)).covariance
    with pytest.raises(ValueError, match="expected width 2; received 3"):
        Moments(2).merge(Moments(3))
    with pytest.raises(ValueError, match="of one width"):
        frechet_distance(torch.zeros(2), torch.eye(2), torch.zeros(3), torch.eye(3))
