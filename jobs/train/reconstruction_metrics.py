"""Metrics of a trained feature autoencoder: rebuilt held-out features, and the distribution of its latents."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fae.losses import kl_divergence
from fae.models import FeatureAutoencoder
from jobs.loop import evaluation_parts
from stores import AnyStore
from stores.care import effective_rank

EVALUATION_ROWS = 1024


@torch.inference_mode()
def autoencoder_metrics(model: FeatureAutoencoder, features: AnyStore, device: torch.device) -> dict[str, Any]:
    """Metrics of held-out rows (training rows when none are held out), as they lie in the store's first view.

    `relative_squared_error` = Σ(x - x̂)²/Σx² of normalized features and mean `cosine` of tokens, both from the
    posterior's mean; `error_of_draws`, the same error from a draw; `kl_nats_per_token`; `latent_std` and
    `posterior_std`, of the means and around them, averaged over channels; `effective_rank` of the means' covariance.
    """
    rows = evaluation_parts(features, EVALUATION_ROWS)
    totals: dict[str, Tensor] = {}
    channels = model.config.latent_channels
    moments = torch.zeros(channels + 1, channels, dtype=torch.float64, device=device)
    generator = torch.Generator(device).manual_seed(0)
    for store, part in rows.batches(64):
        batch = torch.from_numpy(store.read("features", part, view=0)).to(device).float()
        for name, value in _batch_sums(model, batch, generator, moments).items():
            totals[name] = totals[name] + value if name in totals else value
    # Read once: a read of each batch would wait for the device.
    sums = {name: float(value) for name, value in totals.items()}
    covariance = _covariance(moments.cpu(), sums["tokens"])
    return {
        "relative_squared_error": sums["error"] / sums["energy"],
        "cosine": sums["cosine"] / sums["tokens"],
        "error_of_draws": sums["error_of_draws"] / sums["energy"],
        "kl_nats_per_token": sums["kl"] / sums["tokens"],
        "latent_std": float(np.sqrt(np.diag(covariance)).mean()),
        "posterior_std": sums["posterior_std"] / sums["tokens"],
        "effective_rank": effective_rank(np.linalg.eigvalsh(covariance)),
        "rows": len(rows),
        "split": rows.split,
    }


def _batch_sums(
    model: FeatureAutoencoder, batch: Tensor, generator: torch.Generator | None, moments: Tensor
) -> dict[str, Tensor]:
    """Sums over the tokens of a batch (N, h, w, C), float64; adds Σz and Σzzᵀ of the means to `moments` (1 + c, c)."""
    x, posterior = model.normalize(batch), model.encode(batch)
    rebuilt = model.normalize(model.decode(posterior.mean))
    drawn = model.normalize(model.decode(posterior.sample(generator)))
    means = posterior.mean.flatten(0, 2).double()  # (N, h, w, c) -> (N*h*w, c)
    moments[0] += means.sum(dim=0)
    moments[1:] += means.T @ means
    sums = {
        "error": (rebuilt - x).square(),
        "error_of_draws": (drawn - x).square(),
        "energy": x.square(),
        "cosine": nn.functional.cosine_similarity(x, rebuilt, dim=-1),
        "kl": kl_divergence(posterior),
        "posterior_std": posterior.std.mean(dim=-1),
    }
    tokens = torch.full((), float(len(means)), dtype=torch.float64, device=means.device)
    return {"tokens": tokens} | {name: value.double().sum() for name, value in sums.items()}


def _covariance(moments: Tensor, tokens: float) -> np.ndarray:
    mean = moments[0] / tokens
    covariance: np.ndarray = (moments[1:] / tokens - mean[:, None] * mean).numpy()
    return covariance
