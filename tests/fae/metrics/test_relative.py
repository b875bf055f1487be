"""FDr: 1 for images as near as validation ones, and the published mean over six networks."""

import pytest
import torch

from fae.metrics.facts import ExtractorFacts
from fae.metrics.measured import Gaussian, Measured
from fae.metrics.relative import mean_relative_distances, relative_distance
from fae.metrics.scores import Metric


def facts(title):
    return ExtractorFacts(title, title, "00", "none", "pooled")


def images(offset):
    """Unit Gaussians (4,), moved: their distance is the offset's square."""
    mean = torch.zeros(4, dtype=torch.float64)
    mean[0] = offset
    return Measured(50, {"pooled": Gaussian(mean, torch.eye(4, dtype=torch.float64))})


def test_the_distance_in_units_of_validation_images():
    found = relative_distance(facts("FD-Lite0"), images(3.0), images(0.0), images(2.0))
    assert (found.metric, found.value) == ("FDr on Lite0", pytest.approx(9 / 4))
    assert found.note == "9 of 50 images over 4 of 50 validation images"
    assert relative_distance(facts("FID"), images(2.0), images(0.0), images(2.0)).value == pytest.approx(1)


def test_the_reference_is_no_validation_set():
    with pytest.raises(ValueError, match="expected other real images than the reference's"):
        relative_distance(facts("FID"), images(3.0), images(0.0), images(0.0))


def test_the_published_mean_over_six_networks():
    values = (0.997, 1.392, 2.372, 5.854, 5.698, 7.384)  # RAEv2, unguided, as HiRAE has them: 3.95
    found = [(facts(f"FD-{number}"), Metric("FDr", value)) for number, value in enumerate(values)]
    arithmetic, geometric = mean_relative_distances(found)
    assert (arithmetic.metric, arithmetic.value) == ("FDr^6", pytest.approx(3.95, abs=5e-3))
    assert arithmetic.note == "arithmetic mean over 0, 1, 2, 3, 4, 5"
    assert geometric.value == pytest.approx(torch.tensor(values).log().mean().exp().item(), rel=1e-5)
    assert mean_relative_distances(found[:1]) == []
