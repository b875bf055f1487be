"""Images to features: plan feature stores, and fill their shards with frozen encoders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fae.encoders import EncoderSpec, describe, encoder_shape, resolve_weights
from jobs.config import DataConfig, ExtractConfig, RuntimeConfig
from jobs.executors import OnProgress, dtype_name, pick_device, settle_batch_size, write_missing_shards
from jobs.extraction.encoder_batch import encoder_batch_size
from jobs.extraction.image_worker import ExtractWorker, Target
from stores import ArraySpec, Store, StoreWriter, fingerprint
from stores.sources import ScanResult, Source, SourceOptions, open_source, scan


@dataclass(frozen=True)
class FeaturePlan:
    """Everything `StoreWriter.create` needs, and the parts a worker needs to fill a shard."""

    source: Source
    config: ExtractConfig
    spec: EncoderSpec
    scanned: ScanResult
    arrays: list[ArraySpec]
    ingredients: dict[str, Any]
    attributes: dict[str, Any]

    def writer(self, parent: Path, name: str) -> StoreWriter:
        """The store's writer: a new folder, or the one that these ingredients already have."""
        return StoreWriter.plan(
            parent,
            kind="features",
            name=name,
            arrays=self.arrays,
            views=1 + self.config.flip,
            index=self.scanned.table,
            ingredients=self.ingredients,
            attributes=self.attributes,
            rows_per_shard=self.config.rows_per_shard,
            seed=self.config.seed,
        )


def plan_features(
    data: DataConfig,
    configs: Sequence[ExtractConfig],
    runtime: RuntimeConfig,
    cache: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[FeaturePlan]:
    """Read every image's bytes once, digest the encoders' weights, and name all that decides the features.

    `configs` differ in the encoder and its block alone. `cache` is a folder for unpacked tars and for digests of files
    that have not changed.

    Raises:
        ValueError: no data path, no image, or settings that do not fit the encoder.
    """
    if data.path is None:
        raise ValueError("data.path: expected a folder, tar or Parquet file of images; received none; pass --data PATH")
    device = pick_device(runtime.device)
    source = open_source(data.path, SourceOptions(labels=data.labels), cache=str(cache / "unpacked"))
    encoders = [_describe(config) for config in configs]
    # The images come last: reading them all may take an hour, and a mistake in the settings is said before.
    digests = cache / f"digests-{fingerprint({'root': str(Path(data.path).absolute())})[:12]}.parquet"
    scanned = scan(source, holdout=data.holdout, limit=data.limit, cache=digests, progress=on_progress)
    return [
        _plan(source, config, spec, encoder, scanned, device)
        for config, (spec, encoder) in zip(configs, encoders, strict=True)
    ]


def _describe(config: ExtractConfig) -> tuple[EncoderSpec, dict[str, Any]]:
    spec = encoder_spec(config)
    return spec, describe(spec, resolve_weights(spec))


def encoder_spec(config: ExtractConfig) -> EncoderSpec:
    """The frozen encoder of the settings."""
    return EncoderSpec.from_preset(
        config.encoder, weights=config.weights, layer=config.layer, norm=config.norm, input_size=config.input_size
    )


def feature_arrays(config: ExtractConfig, shape: tuple[int, int, int]) -> list[ArraySpec]:
    """What a feature store keeps of an image whose tokens are (h, w, C)."""
    pixels = ArraySpec("pixels", (config.image_size, config.image_size, 3), "uint8")
    return [ArraySpec("features", shape, config.dtype), *([pixels] if config.pixels else [])]


def _plan(
    source: Source,
    config: ExtractConfig,
    spec: EncoderSpec,
    encoder: dict[str, Any],
    scanned: ScanResult,
    device: torch.device,
) -> FeaturePlan:
    arrays = feature_arrays(config, encoder_shape(spec))
    precision = dtype_name(config.precision, device)
    ingredients = {"encoder": encoder, "image_size": config.image_size, "precision": precision}
    attributes = {"class_names": scanned.class_names, "device": device.type}
    return FeaturePlan(source, config, spec, scanned, arrays, ingredients, attributes)


def extract(
    writers: Sequence[StoreWriter],
    plans: Sequence[FeaturePlan],
    data: DataConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
) -> list[Store]:
    """Fill the missing shards of the plans' stores and finalize them; nothing for those that are complete.

    Images are decoded once for all of them, when their rows are in one order and their shards divide the largest;
    otherwise for one store after the other. Either way each holds what an extraction of its own gives.

    Raises:
        StoreError: more than `data.max_rejected` of the images could not be read (the stores are kept).
    """
    pairs = [(writer, plan) for writer, plan in zip(writers, plans, strict=True) if not writer.complete]
    together = _in_step([writer for writer, _ in pairs])
    for group in [pairs] if together else [[pair] for pair in pairs]:
        for writer, plan in group:
            find = partial(encoder_batch_size, plan.spec, plan.config, runtime)
            settle_batch_size(writer, plan.config.batch_size, find)
        targets = [Target(writer.url, plan.spec, plan.config) for writer, plan in group]
        if group:
            factory = partial(ExtractWorker, targets, plans[0].source, runtime.device)
            write_missing_shards([writer for writer, _ in group], factory, runtime, on_progress, data.max_rejected)
    return [writer.finalize() for writer in writers]


def _in_step(writers: Sequence[StoreWriter]) -> bool:
    """Whether the stores' rows are in one order and all shards divide the largest, or that is the whole store."""
    if len(writers) < 2:
        return True
    orders = {writer.manifest.ingredients["store"]["index_sha256"] for writer in writers}
    sizes = [writer.manifest.rows_per_shard for writer in writers]
    return len(orders) == 1 and (max(sizes) >= writers[0].num_rows or all(max(sizes) % size == 0 for size in sizes))
