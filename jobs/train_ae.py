"""Train the feature autoencoder on a feature store; neither the frozen encoder nor a picture is touched."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fae.autoencoder import FeatureAutoencoder
from fae.losses import fae_loss
from jobs.autoencoder_figures import autoencoder_figures
from jobs.config import AutoencoderConfig, RuntimeConfig
from jobs.launch import launch
from jobs.ranks import Ranks
from jobs.run_folder import RunFolder
from jobs.shards import OnProgress
from jobs.trainer import Losses, LossFunction, Trainer, fit
from jobs.training_inputs import batches, decisive, prepare
from stores import Store


def autoencoder_ingredients(features: Store, config: AutoencoderConfig) -> dict[str, Any]:
    """All that decides the autoencoder's weights (on one kind of device)."""
    return {"features_content_id": features.content_id, "autoencoder": decisive(config), "format": 1}


def train_autoencoder(
    root: Path, name: str, features: Store, config: AutoencoderConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> RunFolder:
    """Train, or go on, or return the finished run of these ingredients."""
    ingredients = autoencoder_ingredients(features, config)
    run = RunFolder.create(root, "autoencoders", name, ingredients, asdict(config), {"features": str(features.path)})
    return run if run.complete else launch(partial(_train, run, features, config), run, config, runtime, on_progress)


def _train(
    run: RunFolder,
    features: Store,
    config: AutoencoderConfig,
    device: torch.device,
    ranks: Ranks,
    on_progress: OnProgress,
) -> None:
    torch.manual_seed(config.seed)
    fresh = build_autoencoder(features, config)
    prepare(fresh, config)
    trainer = Trainer(run, config, fresh, batches(features, ["features"], config, device, ranks), device, ranks=ranks)
    model = fit(trainer, autoencoder_loss(config.kl_weight, config.reduction), on_progress)
    if ranks.lead:
        assert isinstance(model, FeatureAutoencoder)
        model.save_pretrained(run.model_path)
        run.finish(autoencoder_figures(model, features, device))


def build_autoencoder(features: Store, config: AutoencoderConfig) -> FeatureAutoencoder:
    """A fresh autoencoder for the store's grid and width, with the store's exact channel statistics."""
    model = new_autoencoder(features.arrays["features"].row_shape, config)
    statistics = features.statistics("features")
    model.set_feature_statistics(torch.from_numpy(statistics.mean), torch.from_numpy(statistics.std))
    return model


def new_autoencoder(row_shape: tuple[int, ...], config: AutoencoderConfig) -> FeatureAutoencoder:
    """A fresh autoencoder for features (h, w, C) of a row."""
    height, width, dim = row_shape
    return FeatureAutoencoder(
        feature_dim=dim,
        latent_channels=config.latent_channels,
        grid=(height, width),
        encoder=config.encoder,
        heads=config.heads,
        head_dim=config.head_dim,
        activation=config.activation,
        decoder_depth=config.decoder_depth,
        feature_norm=config.feature_norm,
    )


def autoencoder_loss(kl_weight: float, reduction: str = "mean") -> LossFunction:
    """Squared error of normalised features plus β·KL, as a loss function of the trainer."""

    def loss(model: nn.Module, batch: Any, generator: torch.Generator) -> Losses:
        x, x_hat, posterior = model(batch["features"].float(), generator)
        return fae_loss(x, x_hat, posterior, kl_weight, reduction)

    return loss
