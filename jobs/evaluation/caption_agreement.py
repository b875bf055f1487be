"""Whether generated images show their captions: by a joint vision–text model, or by a small head as a proxy."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fae.encoders import ImageTower, TextEncoder, text_encoder_sha256
from fae.metrics import Metric
from fae.probes import AlignmentHead, AlignmentSettings, OwnCaption, fit_alignment, own_caption
from jobs.executors import OnProgress
from jobs.extraction import POOLED, holds_moments
from jobs.sampling import numbered, recorded_text_encoder
from jobs.train import check_same_rows
from stores import Store, fingerprint

# An image's caption is sought among itself and so many others.
OTHERS = 99
# More real images than this change a head of this size little, and all of them lie in memory.
TRAINING_ROWS = 20_000
ROWS_AT_ONCE, TEXTS_AT_ONCE = 64, 64


@dataclass(frozen=True)
class Captioned:
    """Generated images, each with the caption it was made of.

    `latents` reads (n, h, w, c) and `images` uint8 (n, H, W, 3) of a slice of them.
    """

    captions: Sequence[str]
    latents: Callable[[slice], np.ndarray]
    images: Callable[[slice], np.ndarray]

    def parts(self) -> Iterator[slice]:
        """All of them, some at a time."""
        count = len(self.captions)
        return (slice(start, min(start + ROWS_AT_ONCE, count)) for start in range(0, count, ROWS_AT_ONCE))

    @property
    def identity(self) -> dict[str, Any]:
        """What of the captions decides the metrics."""
        return {"captions": fingerprint({"captions": list(self.captions)}), "count": len(self.captions)}

    def latents_sha256(self) -> str:
        """Digest of all latents, in order."""
        digest = hashlib.sha256()
        for part in self.parts():
            digest.update(self.latents(part).astype("<f4").tobytes())
        return digest.hexdigest()


def embed_captions(texts: Sequence[str], encoder: TextEncoder, max_tokens: int | None = None) -> Tensor:
    """The pooled vector of each caption, float32 (M, P) on the CPU; `max_tokens` when absent the encoder's most."""
    starts = range(0, len(texts), TEXTS_AT_ONCE)
    limit = max_tokens or encoder.max_tokens
    return torch.cat([encoder(texts[start : start + TEXTS_AT_ONCE], limit).pooled.cpu() for start in starts])


@dataclass(frozen=True)
class TowerJudge:
    """Agreement by a joint vision-text model of a transformers folder."""

    folder: Path
    samples: Captioned
    device: torch.device
    seed: int

    @property
    def ingredients(self) -> dict[str, Any]:
        """All that decides the metrics beside the images."""
        digest = text_encoder_sha256(self.folder)
        return {"text_tower_sha256": digest, **self.samples.identity, "others": OTHERS}

    def metrics(self, on_progress: OnProgress) -> list[Metric]:
        """Mean cosine of images and their captions, and how early these come among others."""
        tower, samples = ImageTower(self.folder, self.device), self.samples
        found = []
        for part in samples.parts():
            found.append(tower(samples.images(part)).cpu())
            on_progress(part.stop, len(samples.captions), {})
        images = torch.cat(found)
        texts, own = numbered(samples.captions)
        captions = embed_captions(texts, TextEncoder.load(self.folder, self.device))
        cosines = torch.cosine_similarity(images, captions[own])
        judged = own_caption(images, captions, own, OTHERS, self.seed)
        note = f"σ {float(cosines.std()):.3g}, {len(images):,} images, by {self.folder.name}"
        return [Metric("caption cosine", float(cosines.mean()), note=note), *_metrics("caption", judged, "")]


@dataclass(frozen=True)
class HeadJudge:
    """An alignment head, trained on real pairs of split train alone, sees latents and captions: a proxy.

    Raises:
        ValueError: stores whose rows differ.
    """

    latents: Store
    text: Store
    samples: Captioned
    device: torch.device
    seed: int
    settings: AlignmentSettings = field(default_factory=AlignmentSettings)

    def __post_init__(self) -> None:
        check_same_rows(self.latents, self.text)

    @property
    def ingredients(self) -> dict[str, Any]:
        """All that decides the metrics beside the images."""
        return {
            "latents_content_id": self.latents.content_id,
            "text_content_id": self.text.content_id,
            "head": asdict(self.settings),
            "training_rows": TRAINING_ROWS,
            **self.samples.identity,
            "made_latents_sha256": self.samples.latents_sha256(),
            "others": OTHERS,
        }

    def metrics(self, on_progress: OnProgress) -> list[Metric]:
        """How early the captions of generated images come among others, and those of real held-out images.

        Raises:
            ValueError: another text encoder than the one that the store was made with.
        """
        head = self.fit(on_progress)
        encoder = text_encoder_of(self.text, self.device)
        texts, own = numbered(self.samples.captions)
        words = embed_captions(texts, encoder, int(self.text.manifest.ingredients["max_tokens"]))
        made = torch.cat([self._see(head, self.samples.latents(part)) for part in self.samples.parts()])
        with torch.inference_mode():
            judged = own_caption(made, head.captions(words.to(self.device)).cpu(), own, OTHERS, self.seed)
        note = f"proxy: a head trained on {len(self._rows('train')):,} real pairs"
        real = self.real(head)
        metrics = _metrics("caption", judged, note)
        return metrics + (_metrics("real held-out caption", real, "same head") if real is not None else [])

    def fit(self, on_progress: OnProgress) -> AlignmentHead:
        """The head of the training rows: latents as stored (of moments the means), all captions of each."""
        rows = self._rows("train")
        texts = np.stack([self.text.read(POOLED, rows, view) for view in range(self.text.views)], axis=1)  # (N, K, P)
        return fit_alignment(
            self._real_latents(rows).to(self.device),
            torch.from_numpy(texts).float().to(self.device),
            self.settings,
            lambda step: on_progress(step, self.settings.steps, {}),
        )

    def real(self, head: AlignmentHead) -> OwnCaption | None:
        """The same question of real held-out images and the first caption of each; None where there are none."""
        rows = self._rows("val")
        captions = [row[0] for row in self.text.index["caption"].take(rows).to_pylist()]
        texts, own = numbered(captions)
        if len(texts) < 2:
            return None
        first = torch.tensor([captions.index(text) for text in texts])
        words = torch.from_numpy(self.text.read(POOLED, rows[first.numpy()], 0)).float()
        with torch.inference_mode():
            images = self._see(head, self._real_latents(rows).numpy())
            return own_caption(images, head.captions(words.to(self.device)).cpu(), own, OTHERS, self.seed)

    def _rows(self, split: str) -> np.ndarray:
        """The rows of a split that have latents and captions."""
        rows = np.intersect1d(self.latents.rows(split), self.text.rows(split))
        captions = self.text.index["caption"].take(rows).to_pylist()
        return rows[[bool(row) for row in captions]][:TRAINING_ROWS]

    def _real_latents(self, rows: np.ndarray) -> Tensor:
        values = torch.from_numpy(self.latents.read("latents", rows, 0)).float()
        return values.chunk(2, dim=-1)[0] if holds_moments(self.latents) else values

    @torch.inference_mode()
    def _see(self, head: AlignmentHead, latents: np.ndarray) -> Tensor:
        parts = torch.split(torch.from_numpy(np.ascontiguousarray(latents)), ROWS_AT_ONCE)
        return torch.cat([head.images(part.to(self.device)).cpu() for part in parts])


def text_encoder_of(text: Store, device: torch.device) -> TextEncoder:
    """The text encoder that a text store was made with.

    Raises:
        ValueError: another one lies in its place.
    """
    name, sha256 = text.attributes["text_encoder"], text.manifest.ingredients["text_encoder_sha256"]
    return recorded_text_encoder(name, sha256, f"{text.url} was made with", "run `fae-pipe extract-text` again", device)


def _metrics(name: str, judged: OwnCaption, note: str) -> list[Metric]:
    recalls = (judged.recall_1, judged.recall_5, judged.mean_rank)
    titles = (f"{name} recall@1", f"{name} recall@5", f"{name} mean rank")
    pool = f"among {judged.others + 1}, {judged.images:,} images of {judged.captions:,} captions"
    return [
        Metric(
            title, found.value, found.low, found.high, "; ".join(filter(None, (f"chance {chance:.3g} {pool}", note)))
        )
        for title, found, chance in zip(titles, recalls, judged.chance, strict=True)
    ]
