"""Published predictors of generatability of a latent store: from latents alone, and with what decodes them."""

import numpy as np
import torch

from fae.images import to_float
from fae.losses import LPIPS
from fae.metrics import Estimate, Extractor, kernel_distance
from fae.probes import (
    RATIOS,
    class_neighbors,
    intrinsic_dimension,
    midpoints,
    perturbation_loss,
    perturbed,
)
from jobs.executors import OnProgress
from jobs.extraction import holds_moments
from jobs.sampling import LatentDecoder
from stores import Store

BATCH_ROWS = 32
NEIGHBORS = 20
LEAST_ROWS = NEIGHBORS + 1  # of latents, for their dimension
SUBSETS = 50


def read_latents(latents: Store, rows: np.ndarray) -> torch.Tensor:
    """Means (N, h, w, c) of some rows in the store's first view, float32."""
    values = torch.from_numpy(latents.read("latents", rows, view=0)).float()
    return values.chunk(2, dim=-1)[0] if holds_moments(latents) else values


def generatability(latents: Store, rows: np.ndarray) -> dict[str, Estimate]:
    """From latents alone: `intrinsic_dimension`, and `class_neighbors` where rows have labels.

    Args:
        latents: a complete latent store.
        rows: some of its rows, more than 20.
    """
    values, labels = read_latents(latents, rows), torch.from_numpy(latents.labels[rows]).long()
    found = {"intrinsic_dimension": intrinsic_dimension(values.flatten(1), NEIGHBORS)}
    if bool((labels >= 0).all()):
        found["class_neighbors"] = class_neighbors(values, labels)
    return found


def decoded_predictors(
    latents: Store, rows: np.ndarray, decoder: LatentDecoder, extractor: Extractor, on_progress: OnProgress
) -> dict[str, Estimate]:
    """With a decoder: `perturbation_lpips` (LPC) and `midpoint_kid` (iFID's kin at small counts).

    KID is between what midpoints of neighbors decode to and what the latents themselves do, of the extractor's main
    features; its interval is two deviations over its subsets.
    """
    values = read_latents(latents, rows)
    half, lpips = midpoints(values), LPIPS("alex").to(decoder.device)
    draws = torch.Generator().manual_seed(0)
    own, middle = [], []
    distances: dict[float, list[torch.Tensor]] = {ratio: [] for ratio in RATIOS}
    for start in range(0, len(rows), BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        images = decoder.decode(values[part])
        own.append(extractor.extract(images)[extractor.facts.main])
        middle.append(extractor.extract(decoder.decode(half[part]))[extractor.facts.main])
        for ratio in RATIOS:
            moved = [decoder.decode(one) for one in perturbed(values[part], ratio, draws)]
            both = [_distance(lpips, one, images, decoder.device) for one in moved]
            distances[ratio].append(torch.stack(both).mean(dim=0))
        on_progress(min(start + BATCH_ROWS, len(rows)), len(rows), {})
    size = max(2, len(rows) // 2)
    kid = kernel_distance(torch.cat(own), torch.cat(middle), subsets=SUBSETS, subset_size=size)
    return {
        "perturbation_lpips": perturbation_loss({ratio: torch.cat(found) for ratio, found in distances.items()}),
        "midpoint_kid": Estimate(kid.mean, kid.mean - 2 * kid.std, kid.mean + 2 * kid.std),
    }


@torch.inference_mode()
def _distance(lpips: LPIPS, images: np.ndarray, others: np.ndarray, device: torch.device) -> torch.Tensor:
    """LPIPS (n,) of uint8 images (n, H, W, 3)."""
    first, second = (to_float(torch.from_numpy(one).to(device)) for one in (images, others))
    found: torch.Tensor = lpips(first, second)
    return found.cpu()
