from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fae.losses.reconstruction import PerceptualSum, fae_loss, kl_divergence, pixel_loss


def gaussian(mean, logvar):
    return SimpleNamespace(mean=mean, logvar=logvar)


def test_kl_agrees_with_torch_distributions():
    mean, logvar = torch.randn(2, 3, 3, 4), torch.randn(2, 3, 3, 4)
    standard = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(mean, (0.5 * logvar).exp()), standard)
    torch.testing.assert_close(kl_divergence(gaussian(mean, logvar)), expected)


def test_a_perfect_standard_autoencoder_has_no_loss():
    x, zero = torch.randn(2, 3, 3, 8), torch.zeros(2, 3, 3, 4)
    losses = fae_loss(x, x.clone(), gaussian(zero, zero), 1.0)
    assert {name: float(value) for name, value in losses.items()} == dict.fromkeys(losses, 0.0)


def test_reductions_differ_by_channels_alone():
    torch.manual_seed(0)
    x, x_hat = torch.randn(3, 4, 4, 12), torch.randn(3, 4, 4, 12)
    posterior = gaussian(torch.randn(3, 4, 4, 2), torch.randn(3, 4, 4, 2))
    mean = fae_loss(x, x_hat, posterior, 0.5, "mean")
    summed = fae_loss(x, x_hat, posterior, 0.5 * 12 / 2, "sum")
    torch.testing.assert_close(summed["loss"], mean["loss"] * 4 * 4 * 12)
    torch.testing.assert_close(summed["relative_squared_error"], mean["relative_squared_error"])


def test_the_loss_is_error_plus_weighted_kl_and_differentiable():
    x_hat, mean = torch.randn(2, 3, 3, 8, requires_grad=True), torch.randn(2, 3, 3, 4, requires_grad=True)
    losses = fae_loss(torch.randn(2, 3, 3, 8), x_hat, gaussian(mean, torch.zeros(2, 3, 3, 4)), 0.1)
    torch.testing.assert_close(losses["loss"], losses["squared_error"] + 0.1 * losses["kl"])
    losses["loss"].backward()
    assert not losses["relative_squared_error"].requires_grad
    torch.testing.assert_close(mean.grad, 0.1 * mean.detach() / mean.numel())


def test_relative_error_of_nothing_rebuilt_is_one():
    x, zero = torch.randn(2, 3, 3, 8), torch.zeros(2, 3, 3, 4)
    losses = fae_loss(x, torch.zeros_like(x), gaussian(zero, zero))
    assert float(losses["relative_squared_error"]) == pytest.approx(1)


def test_losses_are_float32_under_half_precision():
    x = torch.randn(2, 3, 3, 8, dtype=torch.bfloat16)
    zero = torch.zeros(2, 3, 3, 4, dtype=torch.bfloat16)
    assert {value.dtype for value in fae_loss(x, 2 * x, gaussian(zero, zero)).values()} == {torch.float32}
    images = torch.rand(2, 3, 8, 8, dtype=torch.bfloat16)
    assert pixel_loss(images, images)["loss"].dtype == torch.float32


def test_wrong_feature_shapes_and_reductions_are_refused():
    x, zero = torch.randn(2, 3, 3, 8), torch.zeros(2, 3, 3, 4)
    with pytest.raises(ValueError, match=r"\(2, 3, 3, 8\); received \(2, 3, 3, 7\)"):
        fae_loss(x, x[..., :7], gaussian(zero, zero))
    with pytest.raises(ValueError, match="received 'token'"):
        fae_loss(x, x, gaussian(zero, zero), reduction="token")


@pytest.mark.parametrize(("kind", "expected"), [("l1", 0.5), ("l2", 0.25)])
def test_pixel_losses(kind, expected):
    target = torch.zeros(2, 3, 8, 8)
    losses = pixel_loss(target + 0.5, target, kind)
    assert float(losses["loss"]) == pytest.approx(expected)
    assert set(losses) == {"loss", "pixel"}


class Distance(nn.Module):
    def forward(self, prediction, target):
        return (prediction - target).abs().amax(dim=(1, 2, 3))


def test_a_perceptual_distance_is_added_with_its_weight():
    target = torch.zeros(2, 3, 8, 8)
    losses = pixel_loss(target + 0.5, target, "l1", Distance(), 2.0)
    assert float(losses["perceptual"]) == pytest.approx(0.5)
    assert float(losses["loss"]) == pytest.approx(0.5 + 2 * 0.5)


def test_perceptual_distances_add_up_by_weight():
    both = PerceptualSum([(Distance(), 1.0), (Distance(), 0.1)])
    target = torch.zeros(2, 3, 8, 8)
    torch.testing.assert_close(both(target + 0.5, target), torch.full((2,), 0.55))
    image = (target + 0.5).requires_grad_(True)
    both(image, target).sum().backward()
    assert float(image.grad.abs().max()) > 0


def test_wrong_images_and_kinds_are_refused():
    with pytest.raises(ValueError, match="expected images of shape"):
        pixel_loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="received 'huber'"):
        pixel_loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), "huber")
