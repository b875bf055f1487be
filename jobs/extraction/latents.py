"""Features (or images) to latents: the autoencoder's encoder over a feature store, shard by shard."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae.rng import seeded_noise
from jobs.config import EncodeConfig, RuntimeConfig
from jobs.executors import (
    Arrival,
    DeviceStages,
    InferencePool,
    OnProgress,
    SetWorker,
    ShardResult,
    StageTimer,
    autocast,
    dtype_name,
    first_units,
    host_buffer,
    pick_device,
    pick_dtype,
    settle_batch_size,
    write_missing_of_set,
)
from jobs.extraction.arrays import latent_array
from jobs.runs import RunFolder, load_autoencoder, reference_to
from stores import Store, StoreWriter, open_store
from stores.backends import Location, parent_of


def latent_ingredients(
    features: Store, autoencoder: RunFolder, config: EncodeConfig, runtime: RuntimeConfig
) -> dict[str, Any]:
    """All that decides the bytes of a latent store."""
    return {
        "features_content_id": features.content_id,
        "autoencoder_sha256": autoencoder.weights_sha256,
        "latents": config.latents,
        "seed": config.seed if config.latents == "sample" else None,
        "precision": dtype_name(config.precision, pick_device(runtime.device)),
    }


def latent_writer(
    features: Store, autoencoder: RunFolder, parent: Location, name: str, config: EncodeConfig, runtime: RuntimeConfig
) -> StoreWriter:
    """The latent store's writer: a new folder, or the one that these ingredients already have."""
    height, width, _ = features.arrays["features"].row_shape
    channels = int(autoencoder.record.config["latent_channels"])
    ingredients = latent_ingredients(features, autoencoder, config, runtime)
    return StoreWriter.plan(
        parent,
        kind="latents",
        name=name,
        arrays=[latent_array(config, (height, width, channels))],
        views=features.views,
        index=features.index,
        ingredients=ingredients,
        attributes={
            "class_names": features.attributes.get("class_names"),
            "latents": config.latents,
            "features": reference_to(parent_of(parent), features.url),
            "autoencoder": reference_to(parent_of(parent), autoencoder.path),
        },
        rows_per_shard=config.rows_per_shard,
        permute=False,
        row_ingredients=_row_ingredients(features, ingredients),
    )


def _row_ingredients(features: Store, ingredients: dict[str, Any]) -> dict[str, Any] | None:
    """What makes a row's latents of its image; None when that depends on the row's number too."""
    if ingredients["latents"] == "sample":
        return None
    rest = {name: value for name, value in ingredients.items() if name != "features_content_id"}
    return {**rest, "features_row_fingerprint": features.manifest.row_fingerprint}


# Batches whose latents are on their way to a shard's.
MOST_PENDING = 4


@dataclass(frozen=True)
class _PendingLatents:
    """Latents (N, h, w, c) on their way, and the places (N,) of their rows in the shard."""

    done: "Future[Arrival]"
    values: torch.Tensor
    places: np.ndarray
    view: int

    def put_into(self, latents: np.ndarray) -> None:
        """Wait for them, then write them into the shard's (rows, V, h, w, c)."""
        self.done.result().wait()
        latents[self.places, self.view] = self.values.numpy()


@dataclass(frozen=True)
class LatentEncoder:
    """An autoencoder on a worker's device, for the stores of a set."""

    device: torch.device
    model: Any
    autocast: Callable[[], AbstractContextManager[object]]
    inference_pool: InferencePool
    stages: DeviceStages

    @classmethod
    def load(cls, model: Path, config: EncodeConfig, device: str) -> "LatentEncoder":
        """The autoencoder in the folder `model`."""
        place = pick_device(device)
        numbers = autocast(place, pick_dtype(config.precision, place))
        pool = InferencePool(place, torch.get_num_threads())
        return cls(place, load_autoencoder(model, place), numbers, pool, DeviceStages(place))


class EncodeWorker:
    """Reads a shard's rows of features, compresses them and writes the latents.

    Two `run` calls may overlap: while the batches of one are in the model, the other reads or writes.
    """

    def __init__(self, store: str, features: str, config: EncodeConfig, encoder: "LatentEncoder") -> None:
        self.writer, self.features, self.config = StoreWriter.open(store), open_store(features), config
        self.device, self.model, self.autocast = encoder.device, encoder.model, encoder.autocast
        self.inference_pool, self.stages = encoder.inference_pool, encoder.stages
        # What was recorded when the store was begun counts: batches of another size may round differently.
        self.batch_size = int(self.writer.manifest.attributes.get("batch_size", config.batch_size))

    def run(self, shard: int) -> ShardResult:
        """Encode and commit one shard; `seconds` in the result is the time this call waited, by part."""
        span = self.writer.shard_rows(shard)
        rows = np.arange(span.start, span.stop)
        kept = self.writer.reused_rows(shard)
        ok = self.features.ok[rows]
        stored = self.writer.manifest.array("latents").row_shape
        latents = np.full((len(rows), self.features.views, *stored), np.nan, np.float32)
        timer = StageTimer()
        self._fill(latents, rows, np.flatnonzero(ok & ~kept.mask), timer)
        self.writer.write_shard(shard, {"latents": latents}, rejected=self._rejected(rows[~ok]), reused=kept)
        timer.lap("write")
        return {"shard": shard, "rows": len(rows), "rejected": int((~ok).sum()), "seconds": timer.seconds}

    def _fill(self, latents: np.ndarray, rows: np.ndarray, places: np.ndarray, timer: StageTimer) -> None:
        """Put the latents of rows[places] into `latents` (rows, V, h, w, C), view after view."""
        pending: deque[_PendingLatents] = deque()
        for view in range(self.features.views):
            for start in range(0, len(places), self.batch_size):
                batch = places[start : start + self.batch_size]
                values = self._read(rows[batch], view)
                timer.lap("read")
                made = host_buffer((len(batch), *latents.shape[2:]), torch.float32, self.device)
                done = self.inference_pool.submit(self._encode, values, made, rows[batch], view)
                pending.append(_PendingLatents(done, made, batch, view))
                if len(pending) > MOST_PENDING + self.inference_pool.count:
                    pending.popleft().put_into(latents)
                timer.lap("encode")
        for one in pending:
            one.put_into(latents)
        timer.lap("encode")

    def _read(self, rows: np.ndarray, view: int) -> torch.Tensor:
        """Stored features or images of some rows, pinned where they go to CUDA."""
        values = torch.from_numpy(self.features.read(self.model.reads, rows, view=view))
        return values.pin_memory() if self.device.type == "cuda" else values

    @torch.inference_mode()
    def _encode(self, values: torch.Tensor, made: torch.Tensor, rows: np.ndarray, view: int) -> Arrival:
        """Stored features or images (N, ...) -> latents `made` (N, h, w, c)."""

        def forward(batch: torch.Tensor) -> tuple[torch.Tensor]:
            with self.autocast():
                posterior = self.model.encode(as_numbers(batch.to(self.device)))
            return (self._numbers(posterior, rows, view).float(),)

        return self.stages.run(values, forward, (made,))

    def _numbers(self, posterior: Any, rows: np.ndarray, view: int) -> torch.Tensor:
        if self.config.latents == "moments":
            return torch.cat([posterior.mean, posterior.logvar], dim=-1)
        mean: torch.Tensor = posterior.mean
        if self.config.latents == "mean":
            return mean
        seeds = [(self.config.seed << 40) + (int(row) << 1) + view for row in rows]
        draws: torch.Tensor = mean + posterior.std * seeded_noise(seeds, mean.shape[1:]).to(mean)
        return draws

    def _rejected(self, rows: np.ndarray) -> dict[int, str]:
        if not len(rows):
            return {}  # the index is read by those alone who need it
        reasons = self.features.index["reason"]
        return {int(row): reasons[int(row)].as_py() or "rejected" for row in rows}


def as_numbers(values: torch.Tensor) -> torch.Tensor:
    """Features in float32; images stay bytes."""
    return values.float() if values.is_floating_point() else values


def encode(
    writer: StoreWriter,
    features: Store,
    autoencoder: RunFolder,
    config: EncodeConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
) -> Store:
    """Materialise the latents of a feature store; does nothing when they are complete."""
    return encode_set([writer], [features], autoencoder, config, runtime, on_progress)[0]


def encode_set(
    writers: Sequence[StoreWriter],
    features: Sequence[Store],
    autoencoder: RunFolder,
    config: EncodeConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
) -> list[Store]:
    """`encode` for several feature stores as one job, whose workers load the autoencoder once."""
    members, stores = [[writer] for writer in writers], []
    for writer, first, store in zip(writers, first_units(members), features, strict=True):
        if not writer.complete:
            settle_batch_size(writer, config.batch_size, lambda: config.batch_size, runtime.take_over)
            stores.append((first, writer.url, store.url))
    factory = partial(encode_worker, stores, autoencoder.model_path, config, runtime.device)
    return [store for (store,) in write_missing_of_set(members, factory, runtime, on_progress, max_rejected=1.0)]


def encode_worker(stores: Sequence[tuple[int, str, str]], model: Path, config: EncodeConfig, device: str) -> SetWorker:
    """A worker for the shards of several latent stores: each one's first number, its location and its features'."""
    encoder = LatentEncoder.load(model, config, device)
    workers = [EncodeWorker(store, features, config, encoder) for _, store, features in stores]
    return SetWorker(workers, [first for first, _, _ in stores])
