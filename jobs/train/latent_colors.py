"""Latents or features of a store as images without a decoder: principal components as colors, a square a token."""

import numpy as np
import torch

from fae.probes import PrincipalColors
from jobs.extraction import holds_moments
from stores import AnyStore
from stores.core import reference_store

ROWS = 256
CELL_PIXELS = 4


def colors_of(data: AnyStore, name: str = "latents") -> PrincipalColors:
    """The colors of an array's first rows (stored order is random); of moments, the means count.

    Of a bucket set those of its largest store, for all.
    """
    store = reference_store(data)
    channels = store.arrays[name].row_shape[-1]
    channels = channels // 2 if name == "latents" and holds_moments(store) else channels
    values = store.read(name, store.rows()[:ROWS])[..., :channels]
    return PrincipalColors.fit(torch.from_numpy(values.reshape(-1, channels)))  # (N, h, w, c) -> (N·h·w, c)


def color_cells(colors: PrincipalColors, tokens: np.ndarray) -> np.ndarray:
    """(N, h, w, c) -> uint8 (N, h·4, w·4, 3); channels beyond those of the colors do not count."""
    pixels = colors.to_rgb(torch.from_numpy(tokens[..., : len(colors.mean)])).numpy()
    return pixels.repeat(CELL_PIXELS, axis=1).repeat(CELL_PIXELS, axis=2)
