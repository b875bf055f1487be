"""Many images on many workers: a store of samples, filled shard by shard, the same bytes whoever makes them."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from jobs.config import RuntimeConfig, SampleConfig, ingredient_settings
from jobs.executors import (
    InferencePool,
    OnProgress,
    ShardResult,
    StageTimer,
    compiles,
    dtype_name,
    pick_device,
    write_missing_shards,
)
from jobs.runs import Models, reference_to
from jobs.sampling.sample_plan import SamplePlan, plan_samples
from jobs.sampling.sample_size import image_shape, latent_grid
from jobs.sampling.sampler import Sampler
from stores import ArraySpec, Store, StoreWriter, new_index
from stores.backends import Location, parent_of
from stores.format import column_numbers, fingerprint

# Settings that decide neither an image nor, in a store, where it lies. (The weaker generator counts by its weights,
# prompts by their texts.)
NOT_IN_IMAGES = ("columns", "compile", "autoguidance", "format", "out", "rows_per_shard", "prompt", "prompts")
BATCHES_PER_SHARD = 4
PIXELS, LATENTS = "pixels", "latents"


def sample_ingredients(models: Models, config: SampleConfig, plan: SamplePlan) -> dict[str, Any]:
    """All that decides the images, up to the rounding of another batch size or device."""
    captions = {} if plan.captions is None else {"captions": fingerprint({"captions": plan.captions})}
    settings = {
        name: value for name, value in ingredient_settings(config).items() if name not in {*NOT_IN_IMAGES, "batch_size"}
    }
    return {**sample_weights(models), "sample": settings, **captions}


def sample_weights(models: Models) -> dict[str, str | None]:
    """Digests of the weights that decide the images; None for a model that takes no part."""
    return {
        "generator_sha256": models.generator.weights_sha256,
        "autoencoder_sha256": models.autoencoder.weights_sha256,
        "decoder_sha256": models.decoder.weights_sha256 if models.decoder else None,
        "weak_sha256": models.guide_model.weights_sha256 if models.guide_model else None,
    }


def sample_writer(
    parent: Location, name: str, models: Models, config: SampleConfig, runtime: RuntimeConfig
) -> StoreWriter:
    """The writer of a store of kind "samples": array `pixels` uint8 (H, W, 3), one view, a row for each seed.

    Samples of captions keep their `latents` (h, w, c) too, by which their agreement with the captions is measured.

    Raises:
        ValueError: a class or prompt that the generator does not know; see `plan_samples`.
    """
    plan, root = plan_samples(config, models), parent_of(parent)
    height, width = image_shape(config, models)
    precision = dtype_name("auto", pick_device(runtime.device))
    # A matrix product may round differently in batches of another size: here, where bytes are promised, it counts.
    decisive: dict[str, Any] = {"batch_size": config.batch_size, "precision": precision}
    if _is_compiled(config, runtime):
        decisive["compile"] = True
    index_columns: dict[str, Any] = {"label": plan.labels}
    latents = []
    if plan.captions is not None:
        index_columns = {"caption": [[text] for text in plan.captions]}
        latents = [ArraySpec(LATENTS, _latent_shape(config, models), "float32")]
    return StoreWriter.plan(
        parent,
        kind="samples",
        name=name,
        arrays=[ArraySpec(PIXELS, (height, width, 3), "uint8"), *latents],
        index=new_index([plan.name(number) for number in range(config.num)], **index_columns),
        ingredients={**sample_ingredients(models, config, plan), **decisive},
        attributes={
            "class_names": models.class_names,
            "labels": config.labels,
            "autoencoder": reference_to(root, models.autoencoder.path),
            "decoder": reference_to(root, models.decoder.path) if models.decoder else None,
            "generator": reference_to(root, models.generator.path),
        },
        rows_per_shard=min(config.num, config.rows_per_shard or BATCHES_PER_SHARD * config.batch_size),
        permute=False,
    )


class SampleWorker:
    """Draws, solves and decodes the images of a shard, in batches that begin with the shard, and writes them."""

    def __init__(self, store: str, models: Models, config: SampleConfig, device: str) -> None:
        self.writer, self.config = StoreWriter.open(store), config
        self.sampler = Sampler.load(models, pick_device(device), config)
        self.inference_pool = InferencePool(self.sampler.latent_decoder.device, torch.get_num_threads())

    def run(self, shard: int) -> ShardResult:
        """Make and commit one shard; `seconds` in the result is the time this call waited, by part."""
        rows, timer, size = self.writer.shard_rows(shard), StageTimer(), self.config.batch_size
        plan = self._plan(rows)
        conditions = self.sampler.conditions(plan)
        parts = [slice(start, start + size) for start in range(0, len(rows), size)]
        waiting = [
            self.inference_pool.submit(self.sampler.make, conditions.part(part), plan.seeds[part], self.config)
            for part in parts
        ]
        made = [batch.result() for batch in waiting]
        found = {PIXELS: [one.images for one in made], LATENTS: [one.latents for one in made]}
        timer.lap("sample")
        # (n, ...) -> (n, 1, ...)
        arrays = {spec.name: np.concatenate(found[spec.name])[:, None] for spec in self.writer.manifest.arrays}
        self.writer.write_shard(shard, arrays)
        timer.lap("write")
        return {"shard": shard, "rows": len(rows), "rejected": 0, "seconds": timer.seconds}

    def _plan(self, rows: range) -> SamplePlan:
        """What the index says of these rows."""
        rows_index = self.writer.index.slice(rows.start, len(rows))
        seeds = [self.config.seed + row for row in rows]
        captions = [row[0] for row in rows_index["caption"].to_pylist() if row]
        return SamplePlan(column_numbers(rows_index["label"]), seeds, captions or None)


def make_sample_store(
    writer: StoreWriter, models: Models, config: SampleConfig, runtime: RuntimeConfig, on_progress: OnProgress
) -> Store:
    """Fill the missing shards and finalize the store; does nothing when it is complete."""
    config = replace(config, compile=_is_compiled(config, runtime))  # on every worker what the ingredients say
    factory = partial(SampleWorker, writer.url, models, config, runtime.device)
    return write_missing_shards([writer], factory, runtime, on_progress, max_rejected=0.0)[0]


def _is_compiled(config: SampleConfig, runtime: RuntimeConfig) -> bool:
    return compiles(config.compile, pick_device(runtime.device).type)


def _latent_shape(config: SampleConfig, models: Models) -> tuple[int, ...]:
    return (*latent_grid(config, models), int(models.generator.model_config()["in_channels"]))
