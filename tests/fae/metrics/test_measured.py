"""What is kept of a set does not depend on the order in which its images come; metrics bear their network's name."""

import numpy as np
import pytest
import torch

from fae.metrics import FrechetReference, InceptionScore, Moments, compare_samples, extrapolate, frechet_distance
from fae.metrics.facts import ExtractorFacts
from fae.metrics.measured import Accumulator, Measured
from fae.metrics.scores import set_metrics
from fae.metrics.sliced import sliced_wasserstein

FID = ExtractorFacts("inception", "FID", "ab" * 32, "whole image", "pooled", "logits", "spatial")
LITE0 = ExtractorFacts("lite0", "FD-Lite0", "cd" * 32, "whole image", "pooled")
NUMBERS = np.arange(200)


def features(count: int = 200, seed: int = 0, shift: float = 0.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    widths = {"pooled": 6, "logits": 4, "spatial": 5}
    return {name: torch.randn(count, width, generator=generator) + shift for name, width in widths.items()}


def measured(facts: ExtractorFacts, rows: dict[str, torch.Tensor], order: np.ndarray, points: int = 5) -> Measured:
    sums = Accumulator(facts, len(order), kept_rows=50, points=points)
    for part in np.array_split(order, 7):
        sums.update({name: values[torch.from_numpy(part)] for name, values in rows.items()}, part)
    return sums.result()


def test_any_order_gives_the_metrics_of_the_images_numbers() -> None:
    rows = features()
    found = measured(FID, rows, np.random.default_rng(0).permutation(NUMBERS))
    whole, first = Moments(6).update(rows["pooled"]), Moments(6).update(rows["pooled"][:80])
    torch.testing.assert_close(found.gaussians["pooled"].covariance, whole.covariance)
    growing = dict(found.growing())
    assert list(growing) == [40, 80, 120, 160, 200]
    torch.testing.assert_close(growing[80].mean, first.mean)
    torch.testing.assert_close(growing[80].covariance, first.covariance)
    torch.testing.assert_close(found.gaussians["spatial"].mean, rows["spatial"].double().mean(dim=0))
    assert found.rows is not None
    torch.testing.assert_close(found.rows, rows["pooled"][:50])
    assert found.class_score == pytest.approx(InceptionScore(200).update(rows["logits"]).result())


def test_numbers_that_never_come_leave_nothing_behind() -> None:
    rows, there = features(), np.setdiff1d(NUMBERS, [3, 41, 199])
    sums = Accumulator(FID, 200, kept_rows=50, points=5)
    sums.update({name: values[torch.from_numpy(there)] for name, values in rows.items()}, there)
    found = sums.result()
    assert found.count == 197
    assert [count for count, _ in found.growing()] == [39, 78, 118, 158, 197]
    assert found.rows is not None
    torch.testing.assert_close(found.rows, rows["pooled"][np.setdiff1d(np.arange(50), [3, 41])])


def test_two_images_are_the_least() -> None:
    with pytest.raises(ValueError, match="at least 2 readable images"):
        Accumulator(LITE0, 5, kept_rows=5).result()


def test_metrics_are_those_of_the_metrics_themselves() -> None:
    real, made = features(seed=1), features(shift=0.2)
    reference = measured(FID, real, NUMBERS, points=1)
    metrics = {metric.metric: metric for metric in set_metrics(FID, measured(FID, made, NUMBERS), reference, seed=3)}
    assert list(metrics) == [
        *("FID", "sFID", "FID at 40", "FID at 80", "FID at 120", "FID at 160", "FID∞", "KID", "precision", "recall"),
        *("MIND", "IS"),
    ]
    a, b = Moments(6).update(real["pooled"]), Moments(6).update(made["pooled"])
    assert metrics["FID"].value == pytest.approx(frechet_distance(a.mean, a.covariance, b.mean, b.covariance))
    at = [
        FrechetReference(a.mean, a.covariance).distance(part.mean, part.covariance)
        for part in (Moments(6).update(made["pooled"][:count]) for count in (40, 80, 120, 160, 200))
    ]
    assert metrics["FID∞"].value == pytest.approx(extrapolate([40, 80, 120, 160, 200], at).limit)
    pairs = compare_samples(real["pooled"][:50], made["pooled"][:50], seed=3)
    assert (metrics["KID"].value, metrics["KID"].low, metrics["KID"].high) == (
        pytest.approx(pairs.kid.value),
        pytest.approx(pairs.kid.low),
        pytest.approx(pairs.kid.high),
    )
    assert metrics["recall"].value == pairs.recall.value
    assert metrics["MIND"].value == sliced_wasserstein(real["pooled"][:50], made["pooled"][:50], seed=3)
    assert metrics["IS"].value == pytest.approx(InceptionScore(200).update(made["logits"]).result()[0])


def test_other_networks_never_borrow_the_names_of_inception() -> None:
    rows = {"pooled": features()["pooled"]}
    found = measured(LITE0, rows, NUMBERS)
    names = [metric.metric for metric in set_metrics(LITE0, found, found, prefix="r")]
    assert names[0] == "rFD-Lite0"
    assert names[-4:] == ["rKID on Lite0", "precision on Lite0", "recall on Lite0", "rMIND on Lite0"]
    assert not set_metrics(LITE0, found, None)


def test_too_few_images_for_the_width_are_told_and_not_extrapolated() -> None:
    rows = {"pooled": torch.randn(24, 30, generator=torch.Generator().manual_seed(0))}
    found = measured(LITE0, rows, np.arange(24))
    metrics = {metric.metric: metric for metric in set_metrics(LITE0, found, found)}
    assert "24 images are too few for 30 channels" in metrics["FD-Lite0"].note
    assert "FD-Lite0∞" not in metrics
