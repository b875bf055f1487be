"""What an image is to the probes: its features x, its latents z and the rebuilt features x̂, out of stores alone."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from jobs.executors import InferencePool, OnProgress, autocast, pick_device, pick_dtype
from jobs.runs import RunFolder, load_feature_autoencoder
from stores import Store

KINDS = ("x", "z", "x_hat")
# Training rows whose latents give the channels' mean and deviation when there is no latent store.
SCALE_ROWS = 512
Tokens = dict[str, Tensor]


class Representations:
    """Tokens of rows of a feature store in its first view: x (N, h, w, C), z (N, h, w, c), x_hat (N, h, w, C), float32.

    z is the posterior's mean, from the autoencoder or, when there is one, from a latent store; x_hat is decoded from
    it. Passes through the autoencoder run side by side, and their number changes no bit of the result.

    Raises:
        ValueError: an autoencoder of pixels; a latent store of other features, of another autoencoder, or of draws.
    """

    def __init__(
        self,
        features: Store,
        autoencoder: RunFolder,
        latents: Store | None = None,
        device: str = "auto",
        precision: str = "fp32",
        batch_size: int = 64,
    ) -> None:
        if latents is not None:
            check_latents(features, autoencoder, latents)
        self.features, self.latents, self.batch_size = features, latents, batch_size
        self.device = pick_device(device)
        self.autocast = autocast(self.device, pick_dtype(precision, self.device))
        self.model = load_feature_autoencoder(autoencoder, self.device)
        self._check_width(autoencoder.path)
        self.inference_pool = InferencePool(self.device, torch.get_num_threads())

    def tokens(self, rows: np.ndarray) -> Tokens:
        """All three of rows in the given order, in the scale of the stores, on the CPU."""
        parts = list(self._each(rows, lambda tokens: tokens))
        return {kind: torch.cat([part[kind] for part in parts]) for kind in KINDS}

    def pooled(self, rows: np.ndarray, cells: int, on_progress: OnProgress) -> Tokens:
        """Tokens averaged within each cell of a cells × cells grid: (N, cells·cells, channels) of each kind.

        Raises:
            ValueError: the token grid does not divide into so many cells.
        """
        height, width, _ = self.features.arrays["features"].row_shape
        if height % cells or width % cells:
            raise ValueError(f"--pool: expected a divisor of the {height}×{width} token grid; received {cells}")
        return self.reduced(
            rows, lambda tokens: {kind: _pool(values, cells) for kind, values in tokens.items()}, on_progress
        )

    def reduced(self, rows: np.ndarray, reduce: Callable[[Tokens], Tokens], on_progress: OnProgress) -> Tokens:
        """What `reduce` makes of the tokens (n, h, w, C) of a batch of rows, joined over all: (N, ...) of each kind."""
        parts: list[Tokens] = []
        for part in self._each(rows, reduce):
            parts.append(part)
            on_progress(min(len(parts) * self.batch_size, len(rows)), len(rows), {})
        return {kind: torch.cat([part[kind] for part in parts]) for kind in parts[0]}

    def scales(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and deviation of each channel, by which `tokens` of unlike channels become comparable.

        x and x_hat share the feature store's; z has the latent store's, or those of the first training rows.
        """
        statistics = self.features.statistics("features")
        of_x = _scale(torch.from_numpy(statistics.mean), torch.from_numpy(statistics.std))
        if self.latents is not None:
            found, channels = self.latents.statistics("latents"), self.model.config.latent_channels
            of_z = _scale(torch.from_numpy(found.mean)[:channels], torch.from_numpy(found.std)[:channels])
            return {"x": of_x, "x_hat": of_x, "z": of_z}
        rows = self.features.rows("train")[:SCALE_ROWS]
        z = self.tokens(rows if len(rows) else self.features.rows()[:SCALE_ROWS])["z"].flatten(0, 2).double()
        return {"x": of_x, "x_hat": of_x, "z": _scale(z.mean(dim=0), z.std(dim=0, correction=0))}

    def _each(self, rows: np.ndarray, reduce: Callable[[Tokens], Tokens]) -> Iterator[Tokens]:
        """`reduce` of each batch's tokens, in order; a few batches are in work at a time."""
        waiting: list[Future[Tokens]] = []
        for start in range(0, len(rows), self.batch_size):
            waiting.append(self.inference_pool.submit(self._pass, rows[start : start + self.batch_size], reduce))
            if len(waiting) > 2 * self.inference_pool.count:
                yield waiting.pop(0).result()
        for done in waiting:
            yield done.result()

    @torch.inference_mode()
    def _pass(self, rows: np.ndarray, reduce: Callable[[Tokens], Tokens]) -> Tokens:
        x = torch.from_numpy(self.features.read("features", rows)).to(self.device).float()
        with self.autocast():
            z = self.model.encode(x).mean if self.latents is None else self._stored_latents(self.latents, rows)
            x_hat = self.model.decode(z)
        found = reduce({"x": x, "z": z, "x_hat": x_hat})
        return {kind: values.float().cpu() for kind, values in found.items()}

    def _stored_latents(self, latents: Store, rows: np.ndarray) -> Tensor:
        values = latents.read("latents", rows)[..., : self.model.config.latent_channels]  # of moments the mean
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device).float()

    def _check_width(self, path: Path) -> None:
        expected = (*self.model.grid, self.model.config.feature_dim)
        found = self.features.arrays["features"].row_shape
        if found != expected:
            raise ValueError(
                f"{self.features.url}: expected features {expected} for {path}; received {found}; "
                "give the store that the autoencoder was trained on, or one of the same encoder"
            )


def check_latents(features: Store, autoencoder: RunFolder, latents: Store) -> None:
    """Raise ValueError unless these latents are means (or moments) of these features by this autoencoder."""
    made_from = latents.manifest.ingredients
    if made_from.get("latents") in ("sample", "draw"):
        raise ValueError(f"{latents.url}: expected latents of means or moments; received samples; leave out --latents")
    for what, expected in (
        ("features_content_id", features.content_id),
        ("autoencoder_sha256", autoencoder.weights_sha256),
    ):
        if made_from.get(what) != expected:
            raise ValueError(
                f"{latents.url}: expected latents of {features.url} by {autoencoder.path}; received another {what}; "
                "run `fae-pipe encode`, or leave out --latents"
            )


def _pool(tokens: Tensor, cells: int) -> Tensor:
    # (N, h, w, C) -> (N, C, h, w) -> (N, C, g, g) -> (N, C, g·g) -> (N, g·g, C)
    return F.adaptive_avg_pool2d(tokens.float().permute(0, 3, 1, 2), cells).flatten(2).transpose(1, 2)


def _scale(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    return mean.float(), torch.where(std > 0, std, 1.0).float()
