"""Pictures to features: plan a feature store, and fill its shards with a frozen encoder."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae.encoders import EncoderSpec, FrozenEncoder, build_encoder, describe, encoder_shape, resolve_weights
from fae.pictures import PictureError, decode_picture
from jobs.config import DataConfig, ExtractConfig, RuntimeConfig
from jobs.decoders import Decoders, Decoding
from jobs.devices import pick_device, pick_dtype
from jobs.fill import fill_store
from jobs.laps import Laps
from jobs.passes import Passes
from jobs.shards import OnProgress, ShardResult
from stores import ArraySpec, Store, StoreWriter, fingerprint
from stores.scan import ScanResult, scan
from stores.sources import Source, SourceError, open_source


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
    device = pick_device(runtime.device)
    precision = str(pick_dtype(config.precision, device)).removeprefix("torch.")
    source = open_source(data.path, labels=data.labels, cache=str(cache / "unpacked"))
    spec = EncoderSpec.from_preset(
        config.encoder, weights=config.weights, layer=config.layer, norm=config.norm, input_size=config.input_size
    )
    encoder = describe(spec, resolve_weights(spec))
    # The pictures come last: reading them all may take an hour, and a mistake in the settings is said before.
    digests = cache / f"digests-{fingerprint({'root': str(Path(data.path).absolute())})[:12]}.parquet"
    scanned = scan(source, holdout=data.holdout, limit=data.limit, cache=digests, progress=on_progress)
    grid_height, grid_width, dim = encoder_shape(spec)
    arrays = [ArraySpec("features", (grid_height, grid_width, dim), config.dtype)]
    if config.pixels:
        arrays.append(ArraySpec("pixels", (config.picture_size, config.picture_size, 3), "uint8"))
    ingredients = {"encoder": encoder, "picture_size": config.picture_size, "precision": precision}
    attributes = {"class_names": scanned.class_names, "device": device.type, "batch_size": config.batch_size}
    return FeaturePlan(source, spec, scanned, arrays, ingredients, attributes)


class ExtractWorker:
    """Decodes a shard's pictures with threads, runs the encoder over them and writes the shard.

    Two `run` calls may overlap: while the batches of one are in the encoder, the other decodes or writes.
    """

    def __init__(self, store: str, source: Source, spec: EncoderSpec, config: ExtractConfig, device: str) -> None:
        self.writer = StoreWriter.open(store)
        self.source, self.config = source, config
        place = pick_device(device)
        self.encoder: FrozenEncoder = build_encoder(spec, place, pick_dtype(config.precision, place))
        # As many as the process has threads: the share of the processors that belongs to this worker.
        threads = torch.get_num_threads()
        self.decoders = Decoders(max(2, threads), config.decode_seconds)
        self.passes = Passes(place, threads)

    def run(self, shard: int) -> ShardResult:
        """Extract and commit one shard; `seconds` of the result tells what this call waited for."""
        span, kept = self.writer.shard_rows(shard), self.writer.kept_rows(shard)
        rows = [row for row, known in zip(span, kept.mask, strict=True) if not known]
        features, pixels = self._room(len(rows))
        clock = Laps()
        pictures = self._start_decoding(rows, pixels)
        rejected: dict[int, str] = {}
        encoded: list[Future[None]] = []
        for start in range(0, len(rows), self.config.batch_size):
            batch = slice(start, start + self.config.batch_size)
            rejected |= self._rejected(rows[batch], pictures[batch])
            clock.lap("decode")
            encoded.append(self.passes.submit(self._encode, pixels[batch], features[batch]))
            clock.lap("encode")
        for done in encoded:
            done.result()
        clock.lap("encode")
        arrays = {"features": kept.spread(features.numpy())}
        if self.config.pixels:
            arrays["pixels"] = kept.spread(pixels)
        self.writer.write_shard(shard, arrays, rejected=rejected, kept=kept)
        clock.lap("write")
        return {"shard": shard, "rows": len(span), "rejected": len(rejected), "seconds": clock.seconds}

    def _room(self, rows: int) -> tuple[torch.Tensor, np.ndarray]:
        """Uninitialised features (rows, V, h, w, C) and black pixels uint8 (rows, V, H, W, 3)."""
        manifest, size = self.writer.manifest, self.config.picture_size
        shape = (rows, manifest.views, *manifest.array("features").row_shape)
        features = torch.empty(shape, dtype=torch.float16 if self.config.dtype == "float16" else torch.float32)
        return features, np.zeros((rows, manifest.views, size, size, 3), np.uint8)

    def _start_decoding(self, rows: list[int], pixels: np.ndarray) -> list[Decoding]:
        """Fill `pixels` (rows, V, H, W, 3), the k-th of the result row k, as the pictures lie in their files."""
        places = self.writer.index.select(["source", "offset", "num_bytes"]).take(rows).to_pylist()
        order = sorted(range(len(rows)), key=lambda k: (places[k]["source"], places[k]["offset"]))
        started = {k: self._start(pixels[k], **places[k]) for k in order}
        return [started[k] for k in range(len(rows))]

    def _start(self, views: np.ndarray, source: str, offset: int, num_bytes: int) -> Decoding:
        """Fill the views (V, H, W, 3) of one picture, the second mirrored."""

        def decode(data: bytes) -> None:
            picture = decode_picture(data, self.config.picture_size)
            views[0] = picture
            views[1:] = picture[:, ::-1]

        return self.decoders.submit(lambda: self.source.read(source, offset, num_bytes), decode)

    def _rejected(self, rows: list[int], pictures: list[Decoding]) -> dict[int, str]:
        """Wait for the pictures of these rows; the reasons of those that could not be read, by row."""
        reasons: dict[int, str] = {}
        for row, picture in zip(rows, pictures, strict=True):
            try:
                self.decoders.wait(picture)
            except (PictureError, SourceError, OSError) as error:
                reasons[row] = str(error)
        return reasons

    def _encode(self, pixels: np.ndarray, features: torch.Tensor) -> None:
        """uint8 (N, V, H, W, 3) -> `features` (N, V, h, w, C), float16 when that is stored, else float32.

        Raises:
            ValueError: a value beyond float16's range.
        """
        tokens = self.encoder(torch.from_numpy(pixels.reshape(-1, *pixels.shape[2:])))  # (N*V, h, w, C)
        if self.config.dtype == "float16":
            # Cast on the encoder's device: half the bytes to move, and the writer has nothing left to convert.
            tokens = _as_float16(tokens)
        features.copy_(tokens.reshape(features.shape))  # (N*V, h, w, C) -> (N, V, h, w, C)


def _as_float16(tokens: torch.Tensor) -> torch.Tensor:
    """The tokens as float16; NaN is left for the writer, which names its row."""
    largest, limit = float(torch.maximum(tokens.amax(), -tokens.amin())), torch.finfo(torch.float16).max
    if largest > limit:
        raise ValueError(
            f"features: expected values within float16's range of ±{limit:g}; received {largest:g}; "
            "store them with --dtype float32"
        )
    return tokens.to(torch.float16)


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
    factory = partial(ExtractWorker, writer.url, plan.source, plan.spec, config, runtime.device)
    return fill_store(writer, factory, runtime, on_progress, data.max_rejected)
