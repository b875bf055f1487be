"""The way of an image through the pipeline in one image: original, features, latent, rebuilt, and generated ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fae.grids import class_label, labeled_grid
from fae.models import PixelDecoder
from jobs.runs import RunFolder, load_model
from jobs.train import color_cells, colors_of, rebuilder, reconstruct
from pipeline.report.overview import real_rows, shown_samples
from pipeline.report.subjects import Subject
from stores import Store

SHOWN = 6


def lineage_image(root: Path, subject: Subject, device: torch.device, count: int = SHOWN) -> Image.Image | None:
    """Columns of held-out images of different classes; rows: original, features, latent, rebuilt, generated.

    Features and latents are shown by their three strongest principal components as red, green and blue, a square a
    token; generated images are samples of the same class. None where a store or model is missing.
    """
    features, latents, decoder = subject.features, subject.latents, subject.decoder
    if features is None or latents is None or decoder is None or "pixels" not in features.arrays:
        return None
    if not decoder.complete or features.num_rows != latents.num_rows:
        return None
    names = latents.attributes.get("class_names")
    rows = np.sort(_spread_rows(features, count))
    height, width, _ = features.arrays["pixels"].row_shape
    originals, rebuilt = _rebuilt(features, subject.autoencoder, decoder, rows, device)
    lines = {
        "original": originals,
        "features": _tokens(features, "features", rows, (width, height)),
        "latent": _tokens(latents, "latents", rows, (width, height)),
        "rebuilt": rebuilt,
    }
    labels = features.labels[rows]
    generated = _generated(root, subject, labels.tolist())
    if generated is not None and generated.shape == originals.shape:
        lines["generated"] = generated
    heads = [class_label(int(label), names) for label in labels] * len(lines)
    return labeled_grid(np.concatenate(list(lines.values())), len(rows), heads, list(lines))


def _spread_rows(features: Store, count: int) -> np.ndarray:
    """Rows of different classes, held-out ones first."""
    labels = sorted({int(label) for label in features.labels if label >= 0}) or [-1] * count
    chosen = [labels[number * len(labels) // count] for number in range(count)] if len(labels) > count else labels
    return real_rows(features, chosen)


def _rebuilt(
    features: Store, autoencoder: RunFolder | None, decoder: RunFolder, rows: np.ndarray, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    rebuild = rebuilder(autoencoder, device) if autoencoder is not None and autoencoder.complete else None
    return reconstruct(load_model(PixelDecoder, decoder.model_path, device), features, rows, rebuild, device)


def _tokens(store: Store, array: str, rows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Tokens in principal colors as uint8 (N, H, W, 3); `size` is (W, H)."""
    cells = color_cells(colors_of(store, array), store.read(array, rows, view=0).astype(np.float32))
    images = [Image.fromarray(cell).resize(size, Image.Resampling.NEAREST) for cell in cells]
    return np.stack([np.asarray(image) for image in images])


def _generated(root: Path, subject: Subject, labels: Sequence[int]) -> np.ndarray | None:
    """A sample of each label, a different one as often as there are others."""
    folder = shown_samples(root, subject)
    if folder is None:
        return None
    images, of_image = folder.read()
    found: list[int] = []
    for label in labels:
        fits = [int(at) for at in np.flatnonzero(of_image == label)] or list(range(len(images)))
        found.append(next((at for at in fits if at not in found), fits[0]))
    return images[found]
