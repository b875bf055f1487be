"""Train the autoencoder of a feature store; that of features touches neither the frozen encoder nor an image."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fae.losses import fae_loss
from fae.models import PixelVAE
from jobs.config import PIXEL_VAE, AutoencoderConfig, RuntimeConfig
from jobs.executors import OnProgress
from jobs.loop import Losses, LossFunction, Ranks, Trainer, batches, decisive, launch, prepare, train
from jobs.runs import Autoencoder, RunFolder, build_autoencoder, build_pixel_vae
from jobs.train.pca import fit_pca
from jobs.train.pixel_vae import pixel_vae_loss, pixel_vae_metrics
from jobs.train.reconstruction_metrics import autoencoder_metrics
from stores import Store

# Settings that only the VAE of pixels reads, those that it does not read, and all that the closed form of PCA does.
OF_VAE = {"vae_width", "vae_perceptual"}
NOT_OF_VAE = {"heads", "head_dim", "activation", "decoder_depth", "feature_norm", "reduction"}
OF_PCA = {"encoder", "latent_channels", "feature_norm"}


def autoencoder_ingredients(features: Store, config: AutoencoderConfig) -> dict[str, Any]:
    """All that decides the autoencoder's weights (on one kind of device)."""
    return {"features_content_id": features.content_id, "autoencoder": decisive_settings(config), "format": 1}


def decisive_settings(config: AutoencoderConfig) -> dict[str, Any]:
    """The settings that decide the weights: none that this kind of autoencoder does not read."""
    settings = decisive(config)
    if config.encoder == "pca":
        return {name: settings[name] for name in settings if name in OF_PCA}
    unread = NOT_OF_VAE if config.encoder == PIXEL_VAE else OF_VAE
    return {name: settings[name] for name in settings if name not in unread}


def train_autoencoder(
    root: Path, name: str, features: Store, config: AutoencoderConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> RunFolder:
    """Train, or go on, or return the finished run of these ingredients."""
    ingredients = autoencoder_ingredients(features, config)
    run = RunFolder.create(root, "autoencoders", name, ingredients, asdict(config), {"features": str(features.path)})
    training = fit_pca if config.encoder == "pca" else _train
    return run if run.complete else launch(partial(training, run, features, config), run, config, runtime, on_progress)


def _train(
    run: RunFolder,
    features: Store,
    config: AutoencoderConfig,
    device: torch.device,
    ranks: Ranks,
    on_progress: OnProgress,
) -> None:
    torch.manual_seed(config.seed)
    pixels = config.encoder == PIXEL_VAE
    fresh: Autoencoder = build_pixel_vae(features, config) if pixels else build_autoencoder(features, config)
    prepare(fresh, config)
    loss = pixel_vae_loss(config, device) if pixels else autoencoder_loss(config.kl_weight, config.reduction)
    loader = batches(features, [fresh.reads], config, device, ranks)
    evaluation = partial(_metrics, features=features, device=device)
    trainer = Trainer(run, config, fresh, loader, device, ranks=ranks)
    trained = train(trainer, loss, on_progress, evaluation=evaluation)
    if ranks.is_main:
        assert isinstance(trained.model, Autoencoder)
        trained.model.save_pretrained(run.model_path)
        run.finish(trained.metrics)


def _metrics(model: nn.Module, features: Store, device: torch.device) -> dict[str, Any]:
    assert isinstance(model, Autoencoder)
    if isinstance(model, PixelVAE):
        return pixel_vae_metrics(model, features, device)
    return autoencoder_metrics(model, features, device)


def autoencoder_loss(kl_weight: float, reduction: str = "mean") -> LossFunction:
    """Squared error of normalized features plus β·KL, as a loss function of the trainer."""

    def loss(model: nn.Module, batch: Any, generator: torch.Generator) -> Losses:
        x, x_hat, posterior = model(batch["features"].float(), generator)
        return fae_loss(x, x_hat, posterior, kl_weight, reduction)

    return loss
