"""Autoencoders of features or of pixels: the finished ones of runs, and fresh ones; generators train without them."""

import json
from pathlib import Path

import torch

from fae.models import FeatureAutoencoder, PixelVAE
from jobs.config import AutoencoderConfig
from jobs.runs.models import load_model, load_weights
from jobs.runs.run_folder import RunFolder
from stores import AnyStore
from stores.core import member_stores, reference_store

Autoencoder = FeatureAutoencoder | PixelVAE


def load_autoencoder(folder: Path, device: torch.device) -> Autoencoder:
    """The finished model of either kind in `folder`; `reads` names the array of a feature store that it encodes."""
    name = json.loads((folder / "config.json").read_text())["_class_name"]
    kind: type[Autoencoder] = PixelVAE if name == PixelVAE.__name__ else FeatureAutoencoder
    return load_model(kind, folder, device)


def load_feature_autoencoder(run: RunFolder, device: torch.device, weights: str = "ema") -> FeatureAutoencoder:
    """The finished feature autoencoder of a run, with its averaged weights (`ema`) or those of the last step (`raw`).

    Raises:
        ValueError: it is a VAE of pixels, which rebuilds no features.
    """
    if run.decodes_to_pixels:
        raise ValueError(
            f"{run.path}: expected an autoencoder of features; received a VAE of pixels, which rebuilds none; "
            "name another one with --autoencoder"
        )
    model: FeatureAutoencoder = load_weights(FeatureAutoencoder, run, device, weights)
    return model


def build_autoencoder(features: AnyStore, config: AutoencoderConfig) -> FeatureAutoencoder:
    """A fresh autoencoder for the store's grid and width, with the store's exact channel statistics.

    Of a bucket set its statistics, and the grid of most rows, whose positions are spread over the others.
    """
    model = new_autoencoder(reference_store(features).arrays["features"].row_shape, config)
    statistics = features.statistics("features")
    model.set_feature_statistics(torch.from_numpy(statistics.mean), torch.from_numpy(statistics.std))
    return model


def new_autoencoder(row_shape: tuple[int, ...], config: AutoencoderConfig) -> FeatureAutoencoder:
    """A fresh autoencoder for features (h, w, C) of a row."""
    height, width, dim = row_shape
    model: FeatureAutoencoder = FeatureAutoencoder(
        feature_dim=dim,
        latent_channels=config.latent_channels,
        grid=(height, width),
        encoder=config.encoder,
        heads=config.heads,
        head_dim=config.head_dim,
        activation=config.activation,
        decoder_depth=config.decoder_depth,
        feature_norm=config.feature_norm,
        latent_norm="none" if config.encoder == "pca" else config.of_objective("latent_norm"),
    )
    return model


def require_images(features: AnyStore) -> None:
    """Raise ValueError where a feature store keeps no images."""
    for store in member_stores(features):
        if "pixels" not in store.arrays:
            raise ValueError(f"{store.url}: expected a store with images; run `fae-pipe extract --pixels` to make one")


def build_pixel_vae(features: AnyStore, config: AutoencoderConfig) -> PixelVAE:
    """A fresh VAE of the store's images, whose latents have the grid of its features.

    Raises:
        ValueError: a store without images, or an image that halvings do not bring to the grid.
    """
    require_images(features)
    reference = reference_store(features)
    height, width, _ = reference.arrays["features"].row_shape
    rows, columns, _ = reference.arrays["pixels"].row_shape
    model: PixelVAE = PixelVAE(
        image_size=rows if rows == columns else (rows, columns),
        grid=(height, width),
        latent_channels=config.latent_channels,
        width=config.vae_width,
    )
    return model
