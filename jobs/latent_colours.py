"""Latents as pictures without an autoencoder: their three strongest principal components as red, green and blue."""

from dataclasses import dataclass

import numpy as np

from stores import Store

ROWS = 256
CELL_PIXELS = 4


@dataclass(frozen=True)
class LatentColours:
    """An affine map from c latent channels to RGB in [0, 1]."""

    mean: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, latents: Store) -> "LatentColours":
        """Fit to the first rows of a store (stored order is random); ±3 deviations span a colour."""
        rows = latents.rows("train")[:ROWS]
        channels = latents.arrays["latents"].row_shape[-1]
        channels = channels // 2 if latents.attributes["latents"] == "moments" else channels
        values = latents.read("latents", rows)[..., :channels].astype(np.float64)
        tokens = values.reshape(-1, channels)  # (N, h, w, c) -> (N*h*w, c)
        mean = tokens.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(tokens - mean, rowvar=False))
        strongest = np.argsort(values)[::-1][:3]
        return cls(mean, vectors[:, strongest] / (6 * np.sqrt(values[strongest])))

    def paint(self, latents: np.ndarray) -> np.ndarray:
        """(N, h, w, c) -> uint8 (N, h*4, w*4, 3)."""
        colours = np.clip((latents - self.mean) @ self.directions + 0.5, 0, 1)
        pixels = np.round(colours * 255).astype(np.uint8)
        return pixels.repeat(CELL_PIXELS, axis=1).repeat(CELL_PIXELS, axis=2)
