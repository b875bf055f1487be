"""Held-out images decoded again, as a set of images beside their originals."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fae.models import PixelDecoder, PixelVAE
from jobs.config import Size
from jobs.evaluation.image_sets import Batch, StoreImages
from jobs.runs import RunFolder, load_weights
from jobs.train import Rebuild, rebuilder, reconstruct


@dataclass(frozen=True)
class Reconstructions:
    """What a decoder makes of a store's features, through the autoencoder (its mean) when there is one.

    Without a decoder it is what an autoencoder that decodes to pixels makes of the images. `weights` are
    those of `jobs.runs.checkpoint_weights` that count of the run of kind `judged`; of the other one the averaged ones.
    """

    originals: StoreImages
    decoder: RunFolder | None
    autoencoder: RunFolder | None
    device: torch.device
    rejected: dict[str, str] = field(default_factory=dict)
    weights: str = "ema"
    judged: str | None = None

    @property
    def size(self) -> Size:
        """Pixels: a side, or HEIGHTxWIDTH."""
        return self.originals.size

    @property
    def total(self) -> int:
        """Images that there should be."""
        return self.originals.total

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the pixels, as JSON values."""
        return {
            "kind": "reconstructions",
            "of": self.originals.identity,
            "decoder_sha256": self.decoder.weights_sha256 if self.decoder else None,
            "autoencoder_sha256": self.autoencoder.weights_sha256 if self.autoencoder else None,
            "count": self.total,
            "size": self.size,
            "crop": None,
            **({"weights": {self.judged: self.weights}} if self.judged and self.weights != "ema" else {}),
        }

    def batches(self, rows: int) -> Iterator[Batch]:
        """Yield every readable image once; see `ImageSet`."""
        chosen = self.originals.rows
        for start in range(0, len(chosen), rows):
            part = chosen[start : start + rows]
            originals, decoded = self._decoded(part)
            yield Batch(decoded, np.arange(start, start + len(part)), originals)

    def _decoded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        store = self.originals.store
        if self.decoder is None:
            originals = store.read("pixels", rows, view=0)
            return originals, self._vae.repaint(originals)
        return reconstruct(self._model, store, rows, self._rebuild, self.device)

    @cached_property
    def _vae(self) -> PixelVAE:
        assert self.autoencoder is not None
        model: PixelVAE = load_weights(PixelVAE, self.autoencoder, self.device, self._weights_of(self.autoencoder))
        return model

    @cached_property
    def _model(self) -> PixelDecoder:
        assert self.decoder is not None
        model: PixelDecoder = load_weights(PixelDecoder, self.decoder, self.device, self._weights_of(self.decoder))
        return model

    @cached_property
    def _rebuild(self) -> Rebuild | None:
        if self.autoencoder is None:
            return None
        return rebuilder(self.autoencoder, self.device, self._weights_of(self.autoencoder))

    def _weights_of(self, run: RunFolder) -> str:
        return self.weights if run.record.kind == self.judged else "ema"
