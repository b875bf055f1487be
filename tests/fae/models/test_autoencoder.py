"""The feature autoencoder: the paper's parameter counts, its scales, its posterior and its files."""

import math

import pytest
import torch

from fae.models.autoencoder import FeatureAutoencoder, rotated
from fae.models.posterior import ChannelLastGaussian

ENCODERS = ["attention", "linear", "transformer-6", "none"]


def small(encoder="attention", **changes):
    torch.manual_seed(0)
    settings = {
        "latent_channels": 64 if encoder == "none" else 8,
        "heads": 2,
        "head_dim": 32,
        "decoder_depth": 2,
        "grid": (4, 3),
        "decoder_head_dim": 32,
    }
    return FeatureAutoencoder(64, encoder=encoder, **settings | changes)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_are_the_papers():
    with torch.device("meta"):
        model = FeatureAutoencoder(1536, 32, (16, 16), heads=24, head_dim=256, decoder_depth=6)
    assert count(model.feature_encoder) == 38_166_592
    assert count(model.feature_decoder) == 170_428_416


@pytest.mark.parametrize("encoder", ENCODERS)
def test_shapes_on_an_oblong_grid(encoder):
    model = small(encoder)
    features = torch.randn(2, 4, 3, 64)
    posterior = model.encode(features)
    channels = model.config.latent_channels
    assert posterior.mean.shape == posterior.logvar.shape == posterior.sample().shape == (2, 4, 3, channels)
    assert model.decode(posterior.mode()).shape == features.shape


def test_encoding_without_gradients_gives_the_same_posterior():
    model, features = small(), torch.randn(2, 4, 3, 64)
    torch.nn.init.normal_(model.feature_encoder.qkvs.bias)
    trained = model.encode(features).parameters.detach()
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            quick = model.encode(features).parameters
        torch.testing.assert_close(quick, trained)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert (model.encode(features).parameters - trained).abs().max() < 0.03 * trained.abs().max()


def test_encoder_none_passes_the_features_through():
    features = torch.randn(2, 4, 3, 64)
    posterior = small("none").encode(features)
    torch.testing.assert_close(posterior.mean, features)
    torch.testing.assert_close(posterior.sample(), features, atol=1e-5, rtol=0)


def test_encoder_none_refuses_to_compress():
    with pytest.raises(ValueError, match="latent_channels: expected feature_dim = 64"):
        FeatureAutoencoder(64, 8, encoder="none")


def test_posterior_agrees_with_the_formula():
    moments = torch.randn(3, 4, 3, 16)
    posterior = ChannelLastGaussian(moments)
    normal = torch.distributions.Normal(moments[..., :8], torch.exp(0.5 * moments[..., 8:]))
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(posterior.kl(), expected)
    draws = torch.stack([posterior.sample(torch.Generator().manual_seed(seed)) for seed in range(2000)])
    torch.testing.assert_close(draws.std(0), normal.stddev, rtol=0.15, atol=0)


def test_draws_come_from_the_generator():
    model, features = small(), torch.randn(2, 4, 3, 64)
    first, again, other = (model(features, torch.Generator().manual_seed(seed))[1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_statistics_set_the_scale():
    mean, std = torch.randn(64), torch.rand(64) + 0.5
    model = small()
    model.set_feature_statistics(mean, std)
    features = mean + std * torch.randn(2, 4, 3, 64)
    torch.testing.assert_close(model.normalize(features), (features - mean) / std)
    torch.testing.assert_close(model.denormalize(model.normalize(features)), features)
    x, x_hat, posterior = model(features, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x, model.normalize(features))
    z = posterior.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.decode(z), model.denormalize(x_hat))


def test_without_normalization_features_stay_as_they_are():
    model = small(feature_norm="none")
    model.set_feature_statistics(torch.ones(64), torch.full((64,), 2.0))
    features = torch.randn(2, 4, 3, 64)
    assert torch.equal(model.normalize(features), features)


def test_a_constant_channel_does_not_divide_by_zero():
    model = small()
    model.set_feature_statistics(torch.zeros(64), torch.zeros(64))
    assert torch.isfinite(model.normalize(torch.randn(1, 4, 3, 64))).all()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_files_bring_back_the_same_model(tmp_path, encoder):
    model = small(encoder)
    model.set_feature_statistics(torch.randn(64), torch.rand(64) + 0.5)
    model.set_latent_statistics(
        torch.randn(model.config.latent_channels), torch.rand(model.config.latent_channels) + 0.5
    )
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    loaded = FeatureAutoencoder.from_pretrained(tmp_path)
    features = torch.randn(2, 4, 3, 64)
    assert torch.equal(loaded.encode(features).mean, model.encode(features).mean)
    assert torch.equal(loaded.decode(model.encode(features).mean), model.decode(model.encode(features).mean))
    assert torch.equal(loaded.latent_std, model.latent_std)


def test_overfits_a_batch():
    model = small(latent_channels=16)
    features = torch.randn(4, 4, 3, 64, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(150):
        x, x_hat, posterior = model(features, generator)
        error = (x_hat - x).square().mean()
        (error + 1e-6 * posterior.kl().mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        errors.append(error.item())
    assert errors[-1] < 0.1 * errors[0]


def test_bf16_stays_near_fp32():
    model, features = small(), torch.randn(2, 4, 3, 64)
    mean, rebuilt = model.encode(features).mean, model.decode(torch.ones(2, 4, 3, 8))
    with torch.autocast("cpu", torch.bfloat16):
        near, near_rebuilt = model.encode(features).mean, model.decode(torch.ones(2, 4, 3, 8))
    assert near.dtype == near_rebuilt.dtype == torch.float32
    assert (near - mean).norm() < 0.02 * mean.norm()
    assert (near_rebuilt - rebuilt).norm() < 0.02 * rebuilt.norm()


def test_either_half_may_be_held_in_bf16():
    model, features = small(), 3 + torch.randn(2, 4, 3, 64)
    model.set_feature_statistics(torch.full((64,), 3.0), torch.full((64,), 1.0))
    mean, rebuilt = model.encode(features).mean, model.decode(torch.ones(2, 4, 3, 8))
    model.feature_encoder.bfloat16()
    model.feature_decoder.bfloat16()
    assert (model.encode(features).mean - mean).norm() < 0.02 * mean.norm()
    assert (model.decode(torch.ones(2, 4, 3, 8)) - rebuilt).norm() < 0.02 * rebuilt.norm()


def test_checkpointing_changes_no_gradient():
    model, features = small("transformer-6"), torch.randn(2, 4, 3, 64)
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(features, torch.Generator().manual_seed(0))[1].square().sum().backward()
        gradients.append(model.feature_encoder[0].blocks[0].attn.qkv.weight.grad.clone())
        model.enable_gradient_checkpointing()
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "geluu"}, "activation: expected one of .*gelu.* received 'geluu'"),
        ({"encoder": "conv"}, "encoder: expected one of attention.* received 'conv'"),
        ({"feature_norm": "token"}, "feature_norm: expected one of none, channel; received 'token'"),
        ({"decoder_head_dim": 48}, "decoder_head_dim: expected a divisor of the feature width 64; received 48"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


def test_a_foreign_width_is_refused():
    with pytest.raises(ValueError, match=r"features: expected shape \(N, h, w, 64\); received \(2, 4, 3, 32\)"):
        small().encode(torch.randn(2, 4, 3, 32))


def test_statistics_of_another_width_are_refused():
    with pytest.raises(ValueError, match="mean: expected 64 finite numbers"):
        small().set_feature_statistics(torch.zeros(32), torch.ones(32))


def test_latents_of_unit_root_mean_square_have_no_noise():
    torch.manual_seed(0)
    model = FeatureAutoencoder(64, 8, (2, 2), heads=2, head_dim=32, decoder_depth=1, latent_norm="rms")
    posterior = model.encode(torch.randn(3, 2, 2, 64))
    torch.testing.assert_close(posterior.mean.square().mean(-1), torch.ones(3, 2, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(posterior.sample(), posterior.mean, atol=1e-5, rtol=0)


def test_a_turned_latent_keeps_its_length_and_has_the_angle():
    z = torch.randn(3, 2, 2, 32, generator=torch.Generator().manual_seed(0))
    for angle in (0.0, 0.7, 1.5):
        turned = rotated(z, angle, torch.Generator().manual_seed(1))
        torch.testing.assert_close(turned.norm(dim=-1), z.norm(dim=-1))
        cosine = torch.cosine_similarity(turned, z, dim=-1)
        torch.testing.assert_close(cosine, torch.full_like(cosine, math.cos(angle)), atol=1e-5, rtol=0)


def test_noise_has_a_deviation_of_its_own_for_each_image_and_angles_give_rebuilt_neighbors():
    torch.manual_seed(0)
    model = FeatureAutoencoder(64, 8, (2, 2), heads=2, head_dim=32, decoder_depth=1, latent_norm="rms")
    x = torch.randn(3, 2, 2, 64)
    _, plain, _ = model(x, torch.Generator().manual_seed(1))
    _, noised, _, half, far = model(x, torch.Generator().manual_seed(1), 0.5, (0.7, 1.5))
    assert half.shape == far.shape == plain.shape
    moved = [float((other - plain).detach().square().mean()) for other in (noised, half, far)]
    assert moved[0] > 0
    assert moved[1] < moved[2]


def test_features_that_are_the_latents_have_no_norm_of_their_own():
    with pytest.raises(ValueError, match="latent_norm: expected none with encoder 'none'"):
        FeatureAutoencoder(64, 64, (2, 2), encoder="none", decoder_depth=1, latent_norm="rms")
