"""Images that show what trained models do: rebuilt held-out images, samples by guidance and steps, nearest rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from fae.images import to_float
from fae.metrics import psnr, ssim
from fae.models import PixelDecoder
from jobs.config import SampleConfig
from jobs.loop import evaluation_rows
from jobs.runs import RunFolder, load_model
from jobs.sampling.sample_plan import SamplePlan
from jobs.sampling.sampler import Sampler
from jobs.train import rebuilder, reconstruct
from stores import Store

# Images are compared as 32 x 32 ones: where things are and what color they have, not their grain.
COMPARED_SIZE = 32
READ_ROWS = 256


@dataclass(frozen=True)
class Rebuilt:
    """Held-out images and what the models make of them, uint8 (N, H, W, 3), with PSNR (dB) and SSIM of each."""

    split: str
    keys: list[str]
    originals: np.ndarray
    images: np.ndarray
    psnr_db: list[float]
    ssim: list[float]


def rebuilt_images(
    features: Store, autoencoder: RunFolder | None, decoder: RunFolder, count: int, device: torch.device
) -> Rebuilt:
    """The first held-out images (training images when none are held out) through autoencoder and decoder."""
    split, rows = evaluation_rows(features, count)
    rebuild = rebuilder(autoencoder, device) if autoencoder is not None else None
    model = load_model(PixelDecoder, decoder.model_path, device)
    originals, images = reconstruct(model, features, rows, rebuild, device)
    pair = to_float(images), to_float(originals)
    keys = features.index["key"].take(rows).to_pylist()
    return Rebuilt(split, keys, originals, images, psnr(*pair).tolist(), ssim(*pair).tolist())


@dataclass(frozen=True)
class GuidanceGrid:
    """Images uint8 (N, H, W, 3) by guidance scale (down) and solver steps (across), of one plan."""

    scales: list[float]
    steps: list[int]
    cells: list[list[np.ndarray]]


def guidance_grid(
    sampler: Sampler, plan: SamplePlan, config: SampleConfig, scales: Sequence[float], steps: Sequence[int]
) -> GuidanceGrid:
    """A plan's samples for each scale and number of steps; one number where steps do nothing."""
    # A flow solves nothing: whatever the steps, its samples are the same.
    steps = list(
        {sampler.generator.num_function_evaluations(number, (), config.solver): number for number in steps}.values()
    )
    conditions = sampler.conditions(plan).part(slice(None))

    def cell(scale: float, step: int) -> np.ndarray:
        return sampler.make(conditions, plan.seeds, replace(config, guidance_scale=scale, steps=step)).images

    cells = [[cell(scale, step) for step in steps] for scale in scales]
    return GuidanceGrid(list(scales), list(steps), cells)


@dataclass(frozen=True)
class Nearest:
    """The row nearest to each of some images: its number, its image uint8 (H, W, 3), and the distance to it."""

    rows: np.ndarray
    images: np.ndarray
    distances: np.ndarray


def nearest_images(images: np.ndarray, store: Store, rows: np.ndarray) -> Nearest:
    """Search the stored images of `rows` for the nearest one of each image uint8 (N, H, W, 3).

    The distance is the root mean square difference of values in [0, 1] after averaging both to 32 x 32.
    """
    queries = _small(images)
    best = torch.full((len(queries),), torch.inf)
    places = torch.zeros(len(queries), dtype=torch.int64)
    for start in range(0, len(rows), READ_ROWS):
        part = rows[start : start + READ_ROWS]
        distances = torch.cdist(queries, _small(store.read("pixels", part, view=0)))  # (N, M)
        found, at = distances.min(dim=1)
        places = torch.where(found < best, torch.from_numpy(part)[at], places)
        best = torch.minimum(best, found)
    shown = store.read("pixels", places.numpy(), view=0)
    return Nearest(places.numpy(), shown, (best / queries.shape[1] ** 0.5).numpy())


def _small(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3·32·32) in [0, 1]."""
    values = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    return F.interpolate(values, (COMPARED_SIZE, COMPARED_SIZE), mode="area").flatten(1)
