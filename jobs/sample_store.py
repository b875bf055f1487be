"""Many pictures on many workers: a store of samples, filled shard by shard, the same bytes whoever makes them."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.config import RuntimeConfig, SampleConfig
from jobs.devices import dtype_name, pick_device
from jobs.fill import fill_store
from jobs.laps import Laps
from jobs.passes import Passes
from jobs.run_folder import Models
from jobs.sample import Painter, plan_samples, sample_batch
from jobs.shards import OnProgress, ShardResult
from jobs.train_gen import load_generator
from stores import ArraySpec, Store, StoreWriter, new_index

# Settings that decide neither a picture nor, in a store, where it lies. (The weaker generator counts by its weights.)
WATCHING = ("columns", "autoguidance", "format", "out", "rows_per_shard")
BATCHES_PER_SHARD = 4


def sample_ingredients(models: Models, config: SampleConfig) -> dict[str, Any]:
    """All that decides the pictures, up to the rounding of another batch size or device."""
    settings = {name: value for name, value in asdict(config).items() if name not in {*WATCHING, "batch_size"}}
    return {
        "generator_sha256": models.generator.weights_sha256,
        "autoencoder_sha256": models.autoencoder.weights_sha256,
        "decoder_sha256": models.decoder.weights_sha256,
        "weak_sha256": models.weak.weights_sha256 if models.weak else None,
        "sample": settings,
    }


def sample_writer(parent: Path, name: str, models: Models, config: SampleConfig, runtime: RuntimeConfig) -> StoreWriter:
    """The writer of a store of kind "samples": array `pixels` uint8 (H, W, 3), one view, a row for each seed.

    Raises:
        ValueError: a class that the generator does not know.
    """
    plan = plan_samples(config, models.generator.model_config()["num_classes"], models.class_names)
    decoder = models.decoder.model_config()
    height, width = (int(cells) * int(decoder["patch_size"]) for cells in decoder["grid"])
    precision = dtype_name("auto", pick_device(runtime.device))
    # A matrix product may round differently in batches of another size: here, where bytes are promised, it counts.
    decisive = {"batch_size": config.batch_size, "precision": precision}
    return StoreWriter.plan(
        parent,
        kind="samples",
        name=name,
        arrays=[ArraySpec("pixels", (height, width, 3), "uint8")],
        index=new_index([plan.name(number) for number in range(config.num)], label=plan.labels),
        ingredients={**sample_ingredients(models, config), **decisive},
        attributes={
            "class_names": models.class_names,
            "labels": config.labels,
            "autoencoder": str(models.autoencoder.path),
            "decoder": str(models.decoder.path),
            "generator": str(models.generator.path),
        },
        rows_per_shard=min(config.num, config.rows_per_shard or BATCHES_PER_SHARD * config.batch_size),
        permute=False,
    )


class SampleWorker:
    """Draws, solves and paints the pictures of a shard, in batches that begin with the shard, and writes them."""

    def __init__(self, store: Path, models: Models, config: SampleConfig, device: str) -> None:
        self.writer, self.config, self.device = StoreWriter.open(store), config, pick_device(device)
        self.generator = load_generator(models.generator, self.device)
        self.weak = load_generator(models.weak, self.device) if models.weak else None
        self.painter = Painter.load(models.autoencoder, models.decoder, self.device)
        self.labels = self.writer.index["label"].to_numpy().astype(np.int64)
        self.passes = Passes(self.device, torch.get_num_threads())

    def run(self, shard: int) -> ShardResult:
        """Make and commit one shard; `seconds` of the result tells what this call waited for."""
        rows, clock, size = self.writer.shard_rows(shard), Laps(), self.config.batch_size
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        made = [self.passes.submit(self._make, batch) for batch in batches]
        pixels = np.concatenate([batch.result() for batch in made])
        clock.lap("sample")
        self.writer.write_shard(shard, {"pixels": pixels[:, None]})  # (n, H, W, 3) -> (n, 1, H, W, 3)
        clock.lap("write")
        return {"shard": shard, "rows": len(rows), "rejected": 0, "seconds": clock.seconds}

    def _make(self, rows: range) -> np.ndarray:
        seeds = [self.config.seed + row for row in rows]
        labels = self.labels[rows.start : rows.stop]
        return sample_batch(self.generator, self.painter, labels, seeds, self.config, self.weak)


def make_sample_store(
    writer: StoreWriter, models: Models, config: SampleConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> Store:
    """Fill the missing shards and finalise the store; does nothing when it is complete."""
    factory = partial(SampleWorker, writer.path, models, config, runtime.device)
    return fill_store(writer, factory, runtime, on_progress, max_rejected=0.0)
