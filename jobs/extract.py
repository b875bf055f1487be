"""Pictures to features: plan a feature store, and fill its shards with a frozen encoder."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from fae.encoders import EncoderSpec, FrozenEncoder, build_encoder, describe, encoder_shape, resolve_weights
from fae.pictures import PictureError, decode_picture
from jobs.config import DataConfig, ExtractConfig, RuntimeConfig
from jobs.devices import pick_device, pick_dtype
from jobs.fill import fill_store
from jobs.pool import OnProgress, ShardResult
from stores import ArraySpec, Store, StoreWriter, fingerprint
from stores.scan import ScanResult, scan
from stores.sources import Source, open_source

DECODE_THREADS = 4


@dataclass(frozen=True)
class FeaturePlan:
    """Everything `StoreWriter.create` needs, and the parts a worker needs to fill a shard."""

    source: Source
    spec: EncoderSpec
    scanned: ScanResult
    arrays: list[ArraySpec]
    ingredients: dict[str, Any]
    attributes: dict[str, Any]

    def writer(self, parent: Path, name: str, config: ExtractConfig) -> StoreWriter:
        """The store's writer: a new folder, or the one that these ingredients already have."""
        return StoreWriter.plan(
            parent,
            kind="features",
            name=name,
            arrays=self.arrays,
            views=1 + config.flip,
            index=self.scanned.table,
            ingredients=self.ingredients,
            attributes=self.attributes,
            rows_per_shard=config.rows_per_shard,
            seed=config.seed,
        )


def plan_features(
    data: DataConfig,
    config: ExtractConfig,
    runtime: RuntimeConfig,
    cache: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> FeaturePlan:
    """Read every picture's bytes once, digest the encoder's weights, and name all that decides the features.

    `cache` is a folder for unpacked tars and for digests of files that have not changed.

    Raises:
        ValueError: no data path, no picture, or settings that do not fit the encoder.
    """
    if data.path is None:
        raise ValueError(
            "data.path: expected a folder, tar or Parquet file of pictures; received none; pass --data PATH"
        )
    source = open_source(data.path, labels=data.labels, cache=str(cache / "unpacked"))
    digests = cache / f"digests-{fingerprint({'root': str(Path(data.path).absolute())})[:12]}.parquet"
    scanned = scan(source, holdout=data.holdout, limit=data.limit, cache=digests, progress=on_progress)
    spec = EncoderSpec.from_preset(
        config.encoder, weights=config.weights, layer=config.layer, norm=config.norm, input_size=config.input_size
    )
    encoder = describe(spec, resolve_weights(spec))
    device = pick_device(runtime.device)
    precision = str(pick_dtype(config.precision, device)).removeprefix("torch.")
    grid_height, grid_width, dim = encoder_shape(spec)
    arrays = [ArraySpec("features", (grid_height, grid_width, dim), config.dtype)]
    if config.pixels:
        arrays.append(ArraySpec("pixels", (config.picture_size, config.picture_size, 3), "uint8"))
    ingredients = {"encoder": encoder, "picture_size": config.picture_size, "precision": precision}
    attributes = {"class_names": scanned.class_names, "device": device.type, "batch_size": config.batch_size}
    return FeaturePlan(source, spec, scanned, arrays, ingredients, attributes)


class ExtractWorker:
    """Decodes a shard's pictures with threads, runs the encoder over them and writes the shard.

    Two `run` calls may overlap: one holds the encoder while the other decodes or writes.
    """

    def __init__(self, store: Path, source: Source, spec: EncoderSpec, config: ExtractConfig, device: str) -> None:
        self.writer = StoreWriter.open(store)
        self.source, self.config = source, config
        place = pick_device(device)
        self.encoder: FrozenEncoder = build_encoder(spec, place, pick_dtype(config.precision, place))
        self.decoders = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        self.encoding = Lock()

    def run(self, shard: int) -> ShardResult:
        rows = self.writer.shard_rows(shard)
        pictures = self._start_decoding(rows)
        features: list[np.ndarray] = []
        pixels: list[np.ndarray] = []
        rejected: dict[int, str] = {}
        with self.encoding:
            for start in range(0, len(rows), self.config.batch_size):
                batch = pictures[start : start + self.config.batch_size]
                decoded = [self._take(picture, rows[start + k], rejected) for k, picture in enumerate(batch)]
                views = self._views(np.stack(decoded))
                features.append(self._encode(views))
                if self.config.pixels:
                    pixels.append(views)
        arrays = {"features": np.concatenate(features)}
        if pixels:
            arrays["pixels"] = np.concatenate(pixels)
        for row in rejected:
            arrays["features"][row - rows.start] = np.nan
        self.writer.write_shard(shard, arrays, rejected=rejected)
        return {"shard": shard, "rows": len(rows), "rejected": len(rejected)}

    def _start_decoding(self, rows: range) -> list[Future[np.ndarray]]:
        index = self.writer.index.slice(rows.start, len(rows)).select(["source", "offset", "num_bytes"]).to_pylist()
        return [self.decoders.submit(self._decode, **entry) for entry in index]

    def _decode(self, source: str, offset: int, num_bytes: int) -> np.ndarray:
        return decode_picture(self.source.read(source, offset, num_bytes), self.config.picture_size)

    def _take(self, picture: Future[np.ndarray], row: int, rejected: dict[int, str]) -> np.ndarray:
        """The decoded picture, or a black one with its reason noted."""
        try:
            return picture.result()
        except (PictureError, OSError) as error:
            rejected[row] = str(error)
            return np.zeros((self.config.picture_size, self.config.picture_size, 3), np.uint8)

    def _views(self, pixels: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) -> (N, V, H, W, 3): as it is, and mirrored when asked."""
        return np.stack([pixels, pixels[:, :, ::-1]], axis=1) if self.config.flip else pixels[:, None]

    def _encode(self, views: np.ndarray) -> np.ndarray:
        """(N, V, H, W, 3) uint8 -> (N, V, h, w, C) float32."""
        batch = torch.from_numpy(np.ascontiguousarray(views.reshape(-1, *views.shape[2:])))  # (N*V, H, W, 3)
        tokens = self.encoder(batch)
        return tokens.cpu().numpy().reshape(*views.shape[:2], *tokens.shape[1:])


def extract(
    writer: StoreWriter,
    plan: FeaturePlan,
    data: DataConfig,
    config: ExtractConfig,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
) -> Store:
    """Fill the missing shards of the plan's store and finalise it; does nothing when it is complete.

    Raises:
        StoreError: more than `data.max_rejected` of the pictures could not be read (the store is kept).
    """
    factory = partial(ExtractWorker, writer.path, plan.source, plan.spec, config, runtime.device)
    return fill_store(writer, factory, runtime, on_progress, data.max_rejected)
