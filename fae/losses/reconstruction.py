"""Losses of the feature autoencoder and of the pixel decoder."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional as F

Losses = dict[str, torch.Tensor]
REDUCTIONS = ("mean", "sum")


class DiagonalGaussian(Protocol):
    """A diagonal Gaussian: mean and log-variance of one shape, channels last."""

    mean: torch.Tensor
    logvar: torch.Tensor


def kl_divergence(posterior: DiagonalGaussian) -> torch.Tensor:
    """KL(N(mean, exp(logvar)) ‖ N(0, 1)) of each number, in nats, float32, of the mean's shape.

    Kingma & Welling, arXiv 1312.6114, appendix B.
    """
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)


def fae_loss(
    x: torch.Tensor, x_hat: torch.Tensor, posterior: DiagonalGaussian, kl_weight: float = 1e-6, reduction: str = "mean"
) -> Losses:
    """Squared L2 of rebuilt features plus β·KL and nothing else (FAE, arXiv 2512.07829, stage Ia).

    The paper states neither β nor the reduction. The default weight 1e-6 is the one that VA-VAE and ml-starflow give
    the KL of other autoencoders: sweep it.

    Args:
        x: features (N, h, w, C).
        x_hat: rebuilt features of the same shape.
        posterior: of the latents (N, h, w, c).
        kl_weight: β.
        reduction: `mean` = squared error per feature number and KL per latent number; `sum` = both summed over a
            sample and averaged over the batch, as an evidence bound has them. β under `mean` acts as β·C/c under
            `sum`, whatever the grid.

    Returns:
        `loss`, `squared_error` and `kl` as reduced, and `relative_squared_error` = Σ(x - x̂)² / Σx². Scalars, float32.

    Raises:
        ValueError: shapes differ or the reduction is unknown.
    """
    if x.shape != x_hat.shape:
        raise ValueError(
            f"fae_loss: expected rebuilt features of shape {tuple(x.shape)}; received {tuple(x_hat.shape)}"
        )
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction: expected one of {', '.join(REDUCTIONS)}; received {reduction!r}")
    x = x.float()
    squared = (x_hat.float() - x).square()
    kl = kl_divergence(posterior)
    relative = (squared.detach().sum() / x.square().sum().clamp_min(1e-12)).detach()
    error, kl = (squared.mean(), kl.mean()) if reduction == "mean" else (squared.sum() / len(x), kl.sum() / len(x))
    return {"loss": error + kl_weight * kl, "squared_error": error, "kl": kl, "relative_squared_error": relative}


class PerceptualSum(nn.Module):
    """Several perceptual losses as one: Σ weight·distance, (N, 3, H, W) twice -> (N,).

    ml-starflow takes LPIPS ×1 and ConvNeXt-S ×0.1; see `fae.losses.perceptual` and `fae.losses.convnext`.
    """

    def __init__(self, parts: Sequence[tuple[nn.Module, float]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(module for module, _ in parts)
        self.weights = [weight for _, weight in parts]

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Weighted sum of the distances, (N,)."""
        total = torch.zeros(len(images), device=images.device)
        for part, weight in zip(self.parts, self.weights, strict=True):
            total = total + weight * part(images, targets).float()
        return total


def pixel_loss(
    prediction: torch.Tensor,
    target: torch.Tensor,
    kind: str = "l1",
    perceptual: nn.Module | None = None,
    perceptual_weight: float = 1.0,
) -> Losses:
    """Reconstruction plus weighted perceptual loss of images. The paper states no weights; RAE has L1 + 1·LPIPS.

    Args:
        prediction: decoded images (N, 3, H, W) in about [-1, 1].
        target: images of the same shape.
        kind: l1 or l2, averaged over all numbers.
        perceptual: (prediction, target) -> a distance per image (N,), for example LPIPS.
        perceptual_weight: weight of its mean.

    Returns:
        `loss`, `pixel`, and `perceptual` when there is one. Scalars, float32.

    Raises:
        ValueError: shapes differ or the kind is unknown.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"pixel_loss: expected images of shape {tuple(target.shape)}; received {tuple(prediction.shape)}"
        )
    if kind not in ("l1", "l2"):
        raise ValueError(f"pixel_loss: expected l1 or l2; received {kind!r}")
    prediction, target = prediction.float(), target.float()
    pixel = F.l1_loss(prediction, target) if kind == "l1" else F.mse_loss(prediction, target)
    if perceptual is None:
        return {"loss": pixel, "pixel": pixel}
    distance = perceptual(prediction, target).float().mean()
    return {"loss": pixel + perceptual_weight * distance, "pixel": pixel, "perceptual": distance}
