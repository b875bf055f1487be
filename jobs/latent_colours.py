"""Latents or features as pictures without a decoder: their three strongest principal components as red, green, blue."""

from dataclasses import dataclass

import numpy as np

from stores import Store

ROWS = 256
CELL_PIXELS = 4


@dataclass(frozen=True)
class LatentColours:
    """An affine map from c channels to RGB in [0, 1]."""

    mean: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, store: Store, name: str = "latents") -> "LatentColours":
        """Fit to the first rows of an array (stored order is random); ±3 deviations span a colour.

        Of moments, the means count.
        """
        rows = store.rows()[:ROWS]
        channels = store.arrays[name].row_shape[-1]
        channels = channels // 2 if name == "latents" and store.attributes["latents"] == "moments" else channels
        values = store.read(name, rows)[..., :channels].astype(np.float64)
        tokens = values.reshape(-1, channels)  # (N, h, w, c) -> (N*h*w, c)
        mean = tokens.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(tokens - mean, rowvar=False))
        strongest = np.argsort(values)[::-1][:3]
        return cls(mean, vectors[:, strongest] / (6 * np.sqrt(values[strongest].clip(1e-30))))

    def paint(self, latents: np.ndarray) -> np.ndarray:
        """(N, h, w, c) -> uint8 (N, h*4, w*4, 3)."""
        colours = np.clip((latents - self.mean) @ self.directions + 0.5, 0, 1)
        pixels = np.round(colours * 255).astype(np.uint8)
        return pixels.repeat(CELL_PIXELS, axis=1).repeat(CELL_PIXELS, axis=2)
