"""Autoencoders beside the paper's: PCA in closed form, and the VAE of pixels through encode and painter."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fae.models.autoencoder import FeatureAutoencoder
from fae.models.pixel_vae import PixelVAE
from jobs.config.stages import AutoencoderConfig, EncodeConfig, RuntimeConfig
from jobs.extraction.latents import encode, latent_writer
from jobs.runs.autoencoders import load_autoencoder, load_feature_autoencoder
from jobs.runs.metrics_log import read_metrics
from jobs.runs.run_folder import Models, RunFolder
from jobs.sampling.sampler import LatentDecoder
from jobs.train.autoencoder import autoencoder_ingredients, train_autoencoder

pytestmark = pytest.mark.heavy

CPU = torch.device("cpu")
LOCAL = RuntimeConfig(executor="local", threads=1)
TINY = AutoencoderConfig(
    latent_channels=8, decoder_depth=1, steps=4, batch_size=8, warmup_steps=1, precision="fp32", vae_width=16,
    learning_rate=1e-3, save_every=2, log_every=2, vae_perceptual="none",
)  # fmt: skip


def silent(*_: Any) -> None:
    """A progress callback that nobody watches."""


def test_pca_rebuilds_what_the_svd_of_the_normalized_tokens_does(noise_stores: Any, tmp_path: Path) -> None:
    features = noise_stores.features
    config = replace(TINY, encoder="pca")
    run = train_autoencoder(tmp_path, "noise", features, config, LOCAL, silent)
    model = load_autoencoder(run.model_path, CPU)
    assert isinstance(model, FeatureAutoencoder)

    x = features.read("features", features.rows("train"), view=0).astype(np.float64).reshape(-1, 64)
    statistics = features.statistics("features")
    normal = (x - statistics.mean) / statistics.std
    axes = np.linalg.svd(normal - normal.mean(axis=0), full_matrices=False)[2][:8]
    expected = (normal - normal.mean(axis=0)) @ axes.T @ axes + normal.mean(axis=0)
    with torch.no_grad():
        rebuilt = model.normalize(model.decode(model.encode(torch.from_numpy(x).float().reshape(-1, 4, 4, 64)).mean))
    np.testing.assert_allclose(rebuilt.reshape(-1, 64).numpy(), expected, atol=2e-4)
    error = float(np.square(expected - normal).sum() / np.square(normal).sum())
    assert run.record.metrics["relative_squared_error"] == pytest.approx(error, rel=1e-3)
    assert not (run.path / "checkpoints").exists()


def test_settings_that_a_kind_does_not_read_change_nothing(noise_stores: Any) -> None:
    def ingredients(**settings: Any) -> Any:
        return autoencoder_ingredients(noise_stores.features, replace(TINY, **settings))

    assert ingredients(encoder="pca", steps=9, heads=2) == ingredients(encoder="pca")
    assert ingredients(encoder="pca", latent_channels=4) != ingredients(encoder="pca")
    assert ingredients(encoder="pixel-vae", heads=2) == ingredients(encoder="pixel-vae")
    assert ingredients(encoder="pixel-vae", vae_width=32) != ingredients(encoder="pixel-vae")
    assert ingredients(vae_width=32) == ingredients()
    assert ingredients(heads=2) != ingredients()
    known = {name for name in asdict(TINY) if not name.startswith("vae_")}
    assert ingredients()["autoencoder"].keys() <= known


@pytest.fixture(scope="module")
def vae(noise_stores: Any, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    root = tmp_path_factory.mktemp("vae")
    return train_autoencoder(root, "noise", noise_stores.features, replace(TINY, encoder="pixel-vae"), LOCAL, silent)


def test_a_vae_of_pixels_is_trained_on_images_and_resumes(vae: RunFolder, noise_stores: Any, tmp_path: Path) -> None:
    assert vae.decodes_to_pixels
    assert {"psnr_db", "kl_nats_per_token", "latent_std"} <= vae.record.metrics.keys()
    config = replace(TINY, encoder="pixel-vae")
    again = train_autoencoder(tmp_path, "noise", noise_stores.features, config, LOCAL, silent)
    assert again.weights_sha256 == vae.weights_sha256


def test_its_latents_are_stored_and_painted_by_itself(vae: RunFolder, noise_stores: Any, tmp_path: Path) -> None:
    features = noise_stores.features
    config = EncodeConfig(dtype="float32", batch_size=8)
    writer = latent_writer(features, vae, tmp_path, "noise", config, LOCAL)
    latents = encode(writer, features, vae, config, LOCAL, silent)
    assert latents.arrays["latents"].row_shape == (4, 4, 8)
    assert latents.manifest.ingredients["autoencoder_sha256"] == vae.weights_sha256

    model = load_autoencoder(vae.model_path, CPU)
    assert isinstance(model, PixelVAE)
    rows = np.arange(4)
    with torch.no_grad():
        expected = model.encode(torch.from_numpy(features.read("pixels", rows, view=0))).mean.numpy()
    np.testing.assert_allclose(latents.read("latents", rows, view=0), expected, atol=1e-5)

    decoded = LatentDecoder.load(vae, None, CPU).decode(torch.from_numpy(expected))
    decoded_again = model.repaint(features.read("pixels", rows, view=0))
    assert decoded.shape == (4, 32, 32, 3)
    assert np.abs(decoded.astype(int) - decoded_again.astype(int)).mean() < 2  # the decoder may take bf16
    assert Models(vae, vae, None, None).token_pixels() == 8


def test_who_needs_features_says_that_a_vae_rebuilds_none(vae: RunFolder) -> None:
    with pytest.raises(ValueError, match="expected an autoencoder of features"):
        load_feature_autoencoder(vae, CPU)


@pytest.mark.parametrize("encoder", ["attention", pytest.param("pixel-vae", marks=pytest.mark.slow)])
# The compiler looks whether its inputs have gradients and hides torch's warning of it, after it was raised.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_the_halves_of_an_autoencoder_are_a_graph_each_with_the_same_losses(
    noise_stores: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str
) -> None:
    torch.compiler.reset()
    whole = nn.Module.compile
    # Traced as one graph, and left without the minutes of code generation.
    monkeypatch.setattr(nn.Module, "compile", lambda part, **how: whole(part, backend="eager", fullgraph=True, **how))
    losses = []
    for compiled in (False, True):
        config = replace(TINY, encoder=encoder, compile=compiled, steps=2, save_every=9)
        run = train_autoencoder(tmp_path, "noise", noise_stores.features, config, LOCAL, silent)
        losses.append(read_metrics(run.path / "metrics.jsonl")[-1]["loss"])
        assert run.record.arithmetic["compile"] is compiled
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
