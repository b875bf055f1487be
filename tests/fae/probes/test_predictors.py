import math

import pytest
import torch

from fae.probes.predictors import (
    class_neighbors,
    estimate,
    intrinsic_dimension,
    midpoints,
    nearest_by_cosine,
    perturbation_loss,
    perturbed,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dimension", [2, 5])
def test_rows_on_a_plane_have_its_dimension(dimension):
    plane = draw(800, dimension) @ draw(dimension, 40, seed=1)
    found = intrinsic_dimension(plane)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(dimension, rel=0.15)


def test_more_neighbors_than_rows_are_refused():
    with pytest.raises(ValueError, match=r"neighbors: expected 2 to 9 \(rows - 1\); received 20"):
        intrinsic_dimension(draw(10, 3))


def test_an_interval_of_a_mean_is_that_of_its_standard_error():
    values = draw(2000)
    found = estimate(values)
    error = 1.96 * float(values.std()) / math.sqrt(2000)
    assert found.value == pytest.approx(float(values.double().mean()))
    assert found.high - found.value == pytest.approx(error, rel=0.15)
    assert found.value - found.low == pytest.approx(error, rel=0.15)


def test_neighbors_of_separate_classes_have_their_class_and_of_noise_chance():
    labels = torch.arange(200) % 4
    separate = 5 * torch.eye(4)[labels][:, None, None] + 0.1 * draw(200, 2, 2, 4)
    assert class_neighbors(separate, labels).value == 1
    assert class_neighbors(draw(400, 2, 2, 4), torch.arange(400) % 4).value == pytest.approx(0.25, abs=0.08)


def test_the_nearest_is_never_the_row_itself():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
    assert nearest_by_cosine(rows).tolist() == [2, 2, 0]


def test_midpoints_lie_on_the_sphere_between_both():
    latents = torch.nn.functional.normalize(draw(6, 16), dim=1).view(6, 2, 2, 4)
    half = midpoints(latents).flatten(1)
    torch.testing.assert_close(half.norm(dim=1), torch.ones(6))
    ours, theirs = latents.flatten(1), latents[nearest_by_cosine(latents)].flatten(1)
    torch.testing.assert_close((half * ours).sum(1), (half * theirs).sum(1))


def test_a_perturbation_has_the_ratio_of_the_norm_and_goes_to_and_fro():
    latents = draw(5, 2, 2, 4)
    there, back = perturbed(latents, 0.5, torch.Generator().manual_seed(0))
    step = (there - latents).flatten(1).norm(dim=1) / latents.flatten(1).norm(dim=1)
    torch.testing.assert_close(step, torch.full((5,), 0.5))
    torch.testing.assert_close(there + back, 2 * latents)


def test_ratios_are_weighted_by_their_inverse():
    distances = {0.5: torch.full((10,), 0.3), 1.0: torch.full((10,), 0.6)}
    assert perturbation_loss(distances).value == pytest.approx((2 * 0.3 + 0.6) / 3)
