"""The VAE of pixels in training: its loss on a store's images, and its metrics; no feature is read."""

from typing import Any

import torch
from torch import nn

from fae.images import to_float
from fae.losses import LPIPS, kl_divergence, pixel_loss
from fae.metrics import psnr
from fae.models import PixelVAE
from jobs.config import AutoencoderConfig
from jobs.loop import Losses, LossFunction, evaluation_parts, prepare
from stores import AnyStore

EVALUATION_ROWS = 512
BATCH_ROWS = 64


def pixel_vae_loss(config: AutoencoderConfig, device: torch.device) -> LossFunction:
    """L1 + LPIPS (as RAE trains its decoder) + β·KL, means over all numbers, as a loss function of the trainer."""
    name = config.vae_perceptual
    perceptual = None if name == "none" else LPIPS(name.removeprefix("lpips-")).to(device)
    if perceptual is not None:
        prepare(perceptual, config, device)

    def loss(model: nn.Module, batch: Any, generator: torch.Generator) -> Losses:
        posterior, decoded = model(batch["pixels"], generator)
        losses = pixel_loss(decoded, to_float(batch["pixels"]), "l1", perceptual)
        kl = kl_divergence(posterior).mean()
        return {**losses, "loss": losses["loss"] + config.kl_weight * kl, "kl": kl}

    return loss


@torch.inference_mode()
def pixel_vae_metrics(model: PixelVAE, features: AnyStore, device: torch.device) -> dict[str, Any]:
    """Metrics of held-out images (training ones when none are held out), rebuilt from the posterior's mean.

    `psnr_db`, `kl_nats_per_token`, and `latent_std` and `posterior_std`, of the means and around them.
    """
    rows = evaluation_parts(features, EVALUATION_ROWS)
    metrics, means, kl, deviation = [], [], [], []
    for store, part in rows.batches(BATCH_ROWS):
        pixels = torch.from_numpy(store.read("pixels", part, view=0)).to(device)
        posterior = model.encode(pixels)
        metrics.append(psnr(model.decode(posterior.mean), to_float(pixels)))
        means.append(posterior.mean.flatten(0, 2))  # (N, h, w, c) -> (N·h·w, c)
        kl.append(kl_divergence(posterior).sum(dim=-1).flatten())
        deviation.append(posterior.std.flatten())
    return {
        "psnr_db": float(torch.cat(metrics).mean()),
        "kl_nats_per_token": float(torch.cat(kl).mean()),
        "latent_std": float(torch.cat(means).std(dim=0).mean()),
        "posterior_std": float(torch.cat(deviation).mean()),
        "rows": len(rows),
        "split": rows.split,
    }
