"""Train the autoencoder of a feature store; that of features touches neither the frozen encoder nor an image."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fae.losses import LatentTermInputs, fae_loss, weighted_terms
from fae.models import PixelVAE
from jobs.config import PIXEL_VAE, AutoencoderConfig, RuntimeConfig
from jobs.executors import OnProgress
from jobs.following import FollowedStore, epoch_counts, keep_epochs, rows_now, source_ingredients, training_batches
from jobs.loop import (
    SINGLE_PROCESS,
    Losses,
    LossFunction,
    Ranks,
    Trainer,
    decisive,
    grid_count,
    innermost_blocks,
    launch,
    open_run,
    prepare,
    row_flops,
    settle_for,
    take_initial_weights,
    train,
    trained_sizes,
)
from jobs.runs import Autoencoder, RunFolder, build_autoencoder, build_pixel_vae
from jobs.train.pca import fit_pca
from jobs.train.pixel_vae import pixel_vae_loss, pixel_vae_metrics
from jobs.train.reconstruction_metrics import autoencoder_metrics
from stores import AnyStore

# Angles between a latent and its two perturbations: half-way, and nearly at a right angle (PAE's).
MANIFOLD_ANGLES = (math.radians(42.5), math.radians(85.0))

# Settings that only the VAE of pixels reads, those that it does not read, and all that the closed form of PCA does.
OF_VAE = {"vae_width", "vae_perceptual"}
OF_OBJECTIVE = {
    "objective",
    "latent_norm",
    "latent_noise_std",
    "structure_weight",
    "manifold_weight",
    "semantic_weight",
}
NOT_OF_VAE = {"heads", "head_dim", "activation", "decoder_depth", "feature_norm", "reduction"} | OF_OBJECTIVE
OF_PCA = {"encoder", "latent_channels", "feature_norm"}


def autoencoder_ingredients(features: AnyStore, config: AutoencoderConfig) -> dict[str, Any]:
    """All that decides the autoencoder's weights (on one kind of device)."""
    if config.encoder == "pca" and isinstance(features, FollowedStore):
        raise ValueError("autoencoder.encoder: expected one that is trained by epochs to follow a store; received pca")
    return {**source_ingredients("features", features), "autoencoder": decisive_settings(config), "format": 1}


def decisive_settings(config: AutoencoderConfig) -> dict[str, Any]:
    """The settings that decide the weights: none that this kind of autoencoder does not read."""
    settings = decisive(config)
    if config.encoder == "pca":
        if config.init_from is not None:
            raise ValueError(
                f"autoencoder.init_from: expected none, since pca has a closed form; received {config.init_from}"
            )
        return {name: settings[name] for name in settings if name in OF_PCA}
    unread = NOT_OF_VAE if config.encoder == PIXEL_VAE else OF_VAE
    return {name: settings[name] for name in settings if name not in unread}


def train_autoencoder(
    root: Path,
    name: str,
    features: AnyStore,
    config: AutoencoderConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
) -> RunFolder:
    """Train, or go on, or return the finished run of these ingredients."""
    config = settle_for(config, features, runtime)
    ingredients = autoencoder_ingredients(features, config)
    build, inputs = partial(fresh_autoencoder, features, config), {"features": features.url}
    run, extension = open_run(
        root, "autoencoders", name, ingredients, config, inputs, build, trained_sizes(features, runtime.train_workers)
    )
    if run.complete:
        return run
    training = partial(fit_pca if config.encoder == "pca" else _train, run, features, config)
    return launch(training, run, config, runtime, on_progress, extension)


def fresh_autoencoder(features: AnyStore, config: AutoencoderConfig) -> Autoencoder:
    """An autoencoder of the settings' kind for this store, untrained."""
    return (build_pixel_vae if config.encoder == PIXEL_VAE else build_autoencoder)(features, config)


def _train(
    run: RunFolder,
    features: AnyStore,
    config: AutoencoderConfig,
    device: torch.device,
    ranks: Ranks,
    on_progress: OnProgress,
) -> None:
    trainer, loss = prepare_autoencoder(run, features, config, device, ranks)

    def evaluation(model: nn.Module) -> dict[str, Any]:
        return _metrics(model, rows_now(trainer, features), device)

    trained = train(trainer, loss, on_progress, evaluation=evaluation)
    if ranks.is_main:
        assert isinstance(trained.model, Autoencoder)
        keep_epochs(run, trainer)
        trained.model.save_pretrained(run.model_path)
        run.finish(trained.metrics)


def prepare_autoencoder(
    run: RunFolder, features: AnyStore, config: AutoencoderConfig, device: torch.device, ranks: Ranks = SINGLE_PROCESS
) -> tuple[Trainer, LossFunction]:
    """A fresh autoencoder with its optimizer and loader, and its loss; nothing is trained yet."""
    torch.manual_seed(config.seed)
    pixels, fresh = config.encoder == PIXEL_VAE, fresh_autoencoder(features, config)
    take_initial_weights(fresh, config)
    flops = row_flops(fresh)
    prepare(
        fresh, config, device, innermost_blocks(fresh) if ranks.sharded else networks_of(fresh), grid_count(features)
    )
    loss = pixel_vae_loss(config, device) if pixels else autoencoder_loss(config)
    loader = training_batches(run, features, [fresh.reads], config, device, ranks)
    counts = epoch_counts(loader)
    trainer = Trainer(run, config, fresh, loader, device, ranks=ranks, row_flops=flops, counts=counts)
    return trainer, loss


def networks_of(model: Autoencoder) -> list[nn.Module]:
    """An autoencoder's two halves, each a module that is called."""
    if isinstance(model, PixelVAE):
        return [model.vae.encoder, model.vae.decoder]
    return [model.feature_encoder, model.feature_decoder]


def _metrics(model: nn.Module, features: AnyStore, device: torch.device) -> dict[str, Any]:
    assert isinstance(model, Autoencoder)
    if isinstance(model, PixelVAE):
        return pixel_vae_metrics(model, features, device)
    return autoencoder_metrics(model, features, device)


def autoencoder_loss(config: AutoencoderConfig) -> LossFunction:
    """Squared error of normalized features plus β·KL and the objective's terms, as a loss function of the trainer."""
    weights, noise_std = config.term_weights, config.of_objective("latent_noise_std")
    kl_weight = 0.0 if config.of_objective("latent_norm") == "rms" else config.kl_weight
    angles = MANIFOLD_ANGLES if weights["manifold"] > 0 else ()

    def loss(model: nn.Module, batch: Any, generator: torch.Generator) -> Losses:
        x, x_hat, posterior, *perturbed = model(batch["features"].float(), generator, noise_std, angles)
        losses = fae_loss(x, x_hat, posterior, kl_weight, config.reduction)
        terms = weighted_terms(LatentTermInputs(x, x_hat, posterior.mean, perturbed), weights)
        total = sum((weights[name] * term for name, term in terms.items()), losses["loss"])
        return {**losses, **terms, "loss": total}

    return loss
