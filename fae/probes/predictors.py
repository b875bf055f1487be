"""Predictors of how well latents can be generated, from the latents themselves and what they decode to."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fae.metrics import Estimate
from fae.rng import normal

# Perturbations of LPC relative to a latent's norm, weighted as 1/ρ (PAE, arXiv 2605.07915, equations 9 and 10).
RATIOS = (0.1, 0.5, 1.0, 2.0)
BOOTSTRAPS = 1000


def estimate(values: Tensor, of_mean: Callable[[Tensor], Tensor] = lambda mean: mean, seed: int = 0) -> Estimate:
    """A function of the mean of values (N,), float64, with its percentile interval over seeded redraws of the rows."""
    values = values.double()
    draws = torch.randint(len(values), (BOOTSTRAPS, len(values)), generator=torch.Generator().manual_seed(seed))
    means = of_mean(values[draws].mean(dim=1)).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return Estimate(float(of_mean(values.mean())), float(means[0]), float(means[1]))


def intrinsic_dimension(rows: Tensor, neighbors: int = 20) -> Estimate:
    """Local intrinsic dimension of rows (N, D) by their nearest neighbors' distances.

    Levina & Bickel 2004: the inverse of the mean of log(T_k / T_j), j < k, averaged over rows as inverses (MacKay &
    Ghahramani 2005).

    Raises:
        ValueError: fewer rows than neighbors.
    """
    if not 2 <= neighbors < len(rows):
        raise ValueError(f"neighbors: expected 2 to {len(rows) - 1} (rows - 1); received {neighbors}")
    distances = torch.cdist(rows.double(), rows.double())
    near = distances.topk(neighbors + 1, largest=False).values[:, 1:].clamp_min(1e-12)  # (N, k) without the row itself
    inverse = (near[:, -1:] / near[:, :-1]).log().mean(dim=1)
    return estimate(inverse, lambda mean: 1 / mean)


def class_neighbors(latents: Tensor, labels: Tensor) -> Estimate:
    """Share of rows whose nearest neighbor has their class, by the cosine of centered means over tokens.

    Args:
        latents: (N, h, w, c).
        labels: (N,) int64.
    """
    pooled = latents.double().flatten(1, 2).mean(dim=1)  # (N, h, w, c) -> (N, c)
    nearest = nearest_by_cosine(pooled - pooled.mean(dim=0))
    return estimate((labels[nearest] == labels).double())


def nearest_by_cosine(rows: Tensor) -> Tensor:
    """The other row (N,) int64 with the largest cosine, of each of rows (N, ...)."""
    unit = F.normalize(rows.flatten(1).double(), dim=1)
    return (unit @ unit.T).fill_diagonal_(-2.0).argmax(dim=1)


def midpoints(latents: Tensor) -> Tensor:
    """Each latent (N, h, w, c) half-way to its nearest other one, on the sphere of flattened latents.

    What iFID (arXiv 2603.05630) decodes, with the nearest neighbor of its abstract.
    """
    ours, theirs = latents.flatten(1), latents[nearest_by_cosine(latents)].flatten(1)
    angle = F.cosine_similarity(ours, theirs, dim=1).clamp(-1 + 1e-6, 1 - 1e-6).acos()[:, None]
    half: Tensor = (ours + theirs) * (torch.sin(angle / 2) / torch.sin(angle))
    return half.view_as(latents)


def perturbed(latents: Tensor, ratio: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Latents (N, h, w, c) moved by `ratio` of their norm along one random direction each, to and fro."""
    direction = F.normalize(normal(latents.shape, generator, latents.device).flatten(1), dim=1)
    step = (ratio * latents.flatten(1).norm(dim=1, keepdim=True) * direction).view_as(latents)
    return latents + step, latents - step


def perturbation_loss(distances: dict[float, Tensor]) -> Estimate:
    """LPC: the weighted mean over ratios ρ of perceptual distances (N,) of what perturbed latents decode to."""
    weights = {ratio: 1 / ratio for ratio in distances}
    total = sum(weights.values())
    values = torch.stack([weights[ratio] / total * one.double() for ratio, one in distances.items()]).sum(dim=0)
    return estimate(values)
