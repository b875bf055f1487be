"""Metrics of two sets of features against torch-fidelity, scipy and scikit-learn on the very same features."""

import numpy as np
import pytest
import scipy.linalg
import torch

from fae.metrics import (
    FrechetReference,
    InceptionScore,
    Moments,
    compare_samples,
    extrapolate,
    knn_recall,
    prefix_counts,
    two_samples,
    unbiased_mmd2,
)

fidelity = pytest.importorskip(
    "torch_fidelity", reason="torch-fidelity is not installed (pip install 'fae-pipe[eval]')"
)


def features(count: int, dim: int = 24, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    """Correlated rows with a mean far from 0."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(7)) / dim**0.5
    return torch.randn(count, dim, generator=generator) @ mix + 1 + shift


def test_the_distance_equals_torch_fidelity_and_scipy() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    real, generated = features(900), features(700, seed=1, shift=0.2)
    ours_a, ours_b = (Moments(24).update(rows) for rows in (real, generated))
    ours = FrechetReference(ours_a.mean, ours_a.covariance).distance(ours_b.mean, ours_b.covariance)
    theirs = [fid_features_to_statistics(rows.double()) for rows in (real, generated)]
    expected = fid_statistics_to_metric(*theirs, verbose=False)["frechet_inception_distance"]
    root = scipy.linalg.sqrtm(theirs[0]["sigma"] @ theirs[1]["sigma"]).real
    gap = theirs[0]["mu"] - theirs[1]["mu"]
    by_scipy = gap @ gap + np.trace(theirs[0]["sigma"] + theirs[1]["sigma"] - 2 * root)
    assert ours == pytest.approx(expected, rel=1e-6)
    assert ours == pytest.approx(by_scipy, rel=1e-6)


def test_moments_come_back_from_mean_and_covariance() -> None:
    rows = features(60)
    moments = Moments(24).update(rows)
    again = Moments.of(60, moments.mean, moments.covariance).update(features(30, seed=1))
    whole = Moments(24).update(torch.cat([rows, features(30, seed=1)]))
    torch.testing.assert_close(again.covariance, whole.covariance)
    with pytest.raises(ValueError, match="at least 2 rows"):
        Moments.of(1, moments.mean, moments.covariance)


@pytest.mark.parametrize("batches", [[203], [1, 7, 90, 105]])
def test_inception_score_equals_torch_fidelity(batches: list[int]) -> None:
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = 3 * features(203)
    score = InceptionScore(203)
    for batch in logits.split(batches):
        score.update(batch)
    expected = isc_features_to_metric(logits, splits=10, shuffle=False)
    mean, std = score.result()
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert std == pytest.approx(expected["inception_score_std"], rel=1e-9)


def test_inception_score_needs_a_row_for_each_split() -> None:
    with pytest.raises(ValueError, match="at least 10 rows"):
        InceptionScore(9)
    with pytest.raises(ValueError, match="at least 10 rows"):
        InceptionScore(20).update(features(5)).result()


def test_kid_precision_and_recall_equal_torch_fidelity() -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    real, generated = features(300).double(), features(300, seed=1, shift=0.3).double()
    ours = compare_samples(real, generated)
    settings = {"kid_subsets": 1, "kid_subset_size": 300, "rng_seed": 0, "verbose": False, "save_cpu_ram": False}
    kernel = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None}
    kid = kid_features_to_metric(real, generated, kid_kernel_poly_coef0=1, **kernel, **settings)
    manifold = prc_features_to_metric(generated, real, prc_neighborhood=3, prc_batch_size=1000, **settings)
    assert ours.kid.value == pytest.approx(kid["kernel_inception_distance_mean"], rel=1e-6)
    assert ours.precision.value == pytest.approx(manifold["precision"], abs=1e-6)
    assert ours.recall.value == pytest.approx(manifold["recall"], abs=1e-6)


@pytest.mark.parametrize("sizes", [(40, 40), (37, 60)])
def test_stripes_change_nothing(sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = features(sizes[0]), features(sizes[1], seed=1, shift=0.3)
    whole = compare_samples(real, generated)
    monkeypatch.setattr(two_samples, "STRIPE", 7)
    pieces = compare_samples(real, generated)
    assert pieces.kid.value == pytest.approx(unbiased_mmd2(real, generated), rel=1e-9)
    assert (pieces.kid.low, pieces.kid.high) == pytest.approx((whole.kid.low, whole.kid.high), rel=1e-9)
    assert pieces.precision == whole.precision
    assert (pieces.precision.value, pieces.recall.value) == (
        knn_recall(generated, real, 3),
        knn_recall(real, generated, 3),
    )


@pytest.mark.heavy
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 40 pairs at a known distance, about 95 % of the intervals hold it (4 standard errors: 81 %)."""
    truth = unbiased_mmd2(features(6000, 6, seed=1000), features(6000, 6, seed=1001, shift=0.7))
    held = 0
    for seed in range(40):
        pair = features(80, 6, seed=2 * seed), features(80, 6, seed=2 * seed + 1, shift=0.7)
        kid = compare_samples(*pair, seed=seed, resamples=100).kid
        held += kid.low <= truth <= kid.high
    assert held / 40 > 0.81


def test_intervals_follow_the_seed_and_shrink_with_the_rows() -> None:
    few = features(100), features(100, seed=1, shift=0.2)
    many = features(800), features(800, seed=1, shift=0.2)
    assert compare_samples(*few, seed=3) == compare_samples(*few, seed=3)
    assert compare_samples(*few, seed=3) != compare_samples(*few, seed=4)
    for name in ("kid", "precision", "recall"):
        small, large = (getattr(compare_samples(*pair), name) for pair in (few, many))
        assert small.low <= small.value <= small.high
        assert large.high - large.low < small.high - small.low


def test_a_row_that_is_there_twice_is_no_neighbor_of_itself() -> None:
    """Copies are at distance 0, so the third neighbor of four equal rows is at 0 too."""
    real = features(1).repeat(4, 1)
    assert compare_samples(real, real + 1e-3, resamples=2).precision.value == 0
    assert compare_samples(real, real, resamples=2).precision.value == 1


def test_sets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="from 1 to 2"):
        compare_samples(features(3), features(30))
    with pytest.raises(ValueError, match="NaN or inf"):
        compare_samples(features(30) * float("nan"), features(30))


def test_a_line_over_one_over_n_is_continued_to_its_limit() -> None:
    counts = prefix_counts(50_000)
    assert counts == [10_000, 20_000, 30_000, 40_000, 50_000]
    found = extrapolate(counts, [2.5 + 3e4 / count for count in counts])
    assert (found.limit, found.slope) == pytest.approx((2.5, 3e4))
    assert found.standard_error == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="at least 3 counts"):
        extrapolate([10, 20], [1.0, 2.0])


def test_the_limit_has_less_bias_than_the_distance() -> None:
    """Sets of one distribution: on average the distance at 1,000 rows is well above 0, its limit much nearer."""
    moments = Moments(32).update(features(20_000, 32, seed=5))
    reference = FrechetReference(moments.mean, moments.covariance)
    counts, limits, biased = prefix_counts(1000), [], []
    for seed in range(6, 14):
        generated = features(1000, 32, seed=seed)
        prefixes = [Moments(32).update(generated[:count]) for count in counts]
        distances = [reference.distance(prefix.mean, prefix.covariance) for prefix in prefixes]
        limits.append(extrapolate(counts, distances).limit)
        biased.append(distances[-1])
    assert abs(np.mean(limits)) < 0.5 * np.mean(biased)
