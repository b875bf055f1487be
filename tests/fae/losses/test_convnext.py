import pytest
import timm
import torch
from safetensors.torch import save_file

from fae.losses.convnext import ConvNeXtLogits
from fae.losses.reconstruction import PerceptualSum, pixel_loss
from fae.weights.files import WeightsError

TINY = "convnext_atto.d2_in1k"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = timm.create_model(TINY)
    # A fresh head is so small that all logits are near zero.
    torch.nn.init.normal_(model.head.fc.weight, std=0.05)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def distance(weights):
    return ConvNeXtLogits(weights, TINY, input_size=64)


def images(seed):
    return torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_equal_images_have_distance_zero_and_noise_adds(distance):
    x, noise = images(0), images(1)
    distances = torch.stack([distance(x + amount * noise, x) for amount in (0.0, 0.05, 0.3)])
    assert distances.shape == (3, 3)
    assert float(distances[0].abs().max()) < 1e-10
    assert bool((distances.diff(dim=0) > 0).all())


def test_the_distance_is_that_of_the_classifiers_own_logits(distance, weights):
    model = timm.create_model(TINY, pretrained=True, pretrained_cfg_overlay={"file": str(weights)}).eval()
    x, y = images(2), images(3)
    resized = [torch.nn.functional.interpolate(z, 64, mode="bilinear", antialias=True) for z in (x, y)]
    mean, std = (torch.tensor(model.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        ours, theirs = (model(((z + 1) / 2 - mean) / std) for z in resized)
    torch.testing.assert_close(distance(x, y), (ours - theirs).square().mean(dim=1), rtol=1e-4, atol=1e-7)


def test_it_is_frozen_and_differentiable(distance):
    x = images(4).requires_grad_(True)
    losses = pixel_loss(x, images(5), "l2", PerceptualSum([(distance, 0.1)]))
    losses["loss"].backward()
    assert float(x.grad.abs().max()) > 0
    assert not any(value.requires_grad for value in distance.parameters())
    assert not distance.train().model.training


def test_foreign_weights_and_names_are_refused(tmp_path, weights):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match=f"expected the weights of {TINY}; received others"):
        ConvNeXtLogits(path, TINY)
    with pytest.raises(WeightsError, match="expected a file; received none"):
        ConvNeXtLogits(tmp_path / "missing.safetensors", TINY)
    with pytest.raises(ValueError, match="expected a timm classifier"):
        ConvNeXtLogits(weights, "convnext_giant_of_nobody")
