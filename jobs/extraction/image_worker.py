"""The worker that fills feature stores: images decoded once, for one encoder or several, shard by shard."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fae.encoders import EncoderSpec, FrozenEncoder, HookEncoder, build_encoder, is_hook, resolve_weights
from fae.images import ImageError, decode_image
from jobs.config import ExtractConfig
from jobs.executors import HostError, InferencePool, ShardResult, StageTimer, pick_device, pick_dtype
from jobs.extraction.decoders import Decoders, DecodeTimeout, Decoding
from jobs.extraction.indexed_images import COLUMNS, IndexRow, check_data, decode_as_scanned, open_on_host, read_image
from stores.sources import Source
from stores.write import ReusedRows


@dataclass(frozen=True)
class Target:
    """A store to fill (path or URL), its encoder, and settings, which all targets share but for encoder and block."""

    store: str
    spec: EncoderSpec
    config: ExtractConfig


@dataclass(frozen=True)
class _PendingShard:
    """A shard of one target that is to be written, and the rows of it that need no computing."""

    builder: "_StoreBuilder"
    shard: int
    kept: ReusedRows

    def new_rows(self) -> np.ndarray:
        """The rows that have to be computed."""
        span = self.builder.writer.shard_rows(self.shard)
        rows: np.ndarray = np.arange(span.start, span.stop)[~self.kept.mask]
        return rows


class ExtractWorker:
    """Decodes the images of a unit with threads, runs the encoders over them and writes the shards.

    A unit is the shard of the store with the most rows in one; the shards of the others divide it. Two `run` calls may
    overlap: while the batches of one are in the encoder, the other decodes or writes.
    """

    def __init__(self, targets: Sequence[Target], source: Source, device: str) -> None:
        self.source, self.config = source, targets[0].config
        check_data(source, open_on_host(targets[0].store))
        place = pick_device(device)
        # As many as the process has threads: the share of the processors that belongs to this worker.
        threads = torch.get_num_threads()
        self.decoders = Decoders(max(2, threads), self.config.decode_seconds)
        inference_pool = InferencePool(place, threads)
        self.builders = [_StoreBuilder(target, place, inference_pool) for target in targets]
        self.coarsest = max(
            (builder.writer for builder in self.builders), key=lambda writer: writer.manifest.rows_per_shard
        )

    def run(self, unit: int) -> ShardResult:
        """Extract and commit what is missing of a unit; `seconds` in the result is the time waited, by part."""
        span = self.coarsest.shard_rows(unit)
        parts = [part for builder in self.builders for part in builder.missing(span)]
        rows = np.unique(np.concatenate([np.empty(0, np.int64), *(part.new_rows() for part in parts)]))
        size, views = self.config.image_size, self.coarsest.manifest.views
        pixels = np.zeros((len(rows), views, size, size, 3), np.uint8)
        timer = StageTimer()
        images = _Images(rows, pixels, self._start_decoding(rows, pixels), self.decoders)
        for part in parts:
            part.builder.write(part, images, timer)
        rejected = len(images.reasons(rows))
        return {"shard": unit, "rows": len(span), "rejected": rejected, "seconds": timer.seconds}

    def _start_decoding(self, rows: np.ndarray, pixels: np.ndarray) -> list[Decoding]:
        """Fill `pixels` (rows, V, H, W, 3), the k-th of the result row k, as the images lie in their files."""
        lines: list[IndexRow] = self.coarsest.index_rows(rows, COLUMNS).to_pylist()
        order = sorted(range(len(rows)), key=lambda k: (lines[k]["source"], lines[k]["offset"]))
        started = {k: self._start(pixels[k], lines[k]) for k in order}
        return [started[k] for k in range(len(rows))]

    def _start(self, views: np.ndarray, line: IndexRow) -> Decoding:
        """Fill the views (V, H, W, 3) of one image, the second mirrored."""

        def decode(data: bytes) -> None:
            image = decode_as_scanned(lambda data: decode_image(data, self.config.image_size), data, line)
            views[0] = image
            views[1:] = image[:, ::-1]

        return self.decoders.submit(lambda: read_image(self.source, line), decode)


@dataclass(frozen=True)
class _Images:
    """The images of store rows (ascending), on their way into `pixels` (rows, V, H, W, 3)."""

    rows: np.ndarray
    pixels: np.ndarray
    decodings: list[Decoding]
    decoders: Decoders

    def reasons(self, rows: Iterable[int]) -> dict[int, str]:
        """Wait for the images of these rows; the reasons of those that are none, by row.

        Raises:
            HostError: this host cannot read one that the scan read.
        """
        found: dict[int, str] = {}
        for row, place in zip(rows, np.searchsorted(self.rows, np.asarray(rows)), strict=True):
            try:
                self.decoders.wait(self.decodings[place])
            except (ImageError, DecodeTimeout) as error:
                found[int(row)] = str(error)
        return found

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The pixels of some rows; no copy when these lie side by side."""
        places = np.searchsorted(self.rows, rows)
        if len(places) and places[-1] - places[0] == len(places) - 1:
            return self.pixels[places[0] : places[-1] + 1]
        return self.pixels[places]


class _StoreBuilder:
    """One encoder and the store that it fills."""

    def __init__(self, target: Target, device: torch.device, inference_pool: InferencePool) -> None:
        self.writer, self.config, self.inference_pool = open_on_host(target.store), target.config, inference_pool
        self.encoder = _encoder_as_planned(target, self.writer.manifest.ingredients["encoder"], device)
        # What was recorded when the store was begun counts: batches of another size may round differently.
        self.batch_size = int(self.writer.manifest.attributes["batch_size"])

    def missing(self, span: range) -> list[_PendingShard]:
        """What is missing of the shards of these rows."""
        size = self.writer.manifest.rows_per_shard
        shards = self.writer.missing_shards(range(span.start // size, -(-span.stop // size)))
        return [_PendingShard(self, shard, self.writer.reused_rows(shard)) for shard in shards]

    def write(self, part: _PendingShard, images: _Images, timer: StageTimer) -> None:
        """Encode and commit one shard."""
        rows, kept = part.new_rows(), part.kept
        manifest = self.writer.manifest
        shape = (len(rows), manifest.views, *manifest.array("features").row_shape)
        features = torch.empty(shape, dtype=torch.float16 if self.config.dtype == "float16" else torch.float32)
        rejected: dict[int, str] = {}
        encoded: list[Future[None]] = []
        for start in range(0, len(rows), self.batch_size):
            batch = slice(start, start + self.batch_size)
            rejected |= images.reasons(rows[batch])
            timer.lap("decode")
            encoded.append(self.inference_pool.submit(self._encode, images.of(rows[batch]), features[batch]))
            timer.lap("encode")
        for done in encoded:
            done.result()
        timer.lap("encode")
        arrays = {"features": kept.spread(features.numpy())}
        if self.config.pixels:
            arrays["pixels"] = kept.spread(images.of(rows))
        self.writer.write_shard(part.shard, arrays, rejected=rejected, reused=kept)
        timer.lap("write")

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


def _encoder_as_planned(target: Target, planned: dict[str, Any], device: torch.device) -> FrozenEncoder | HookEncoder:
    """The encoder of a target, when what is on this host is what the driver planned with.

    Raises:
        HostError: other weights, or another source of a hook.
    """
    dtype = pick_dtype(target.config.precision, device)
    if is_hook(target.spec.name):
        hook = HookEncoder(target.spec, device, dtype)
        if hook.describe() != planned:
            raise HostError(
                f"{target.spec.name}: expected {planned}; received {hook.describe()}; copy the driver's files"
            )
        return hook
    weights = resolve_weights(target.spec)
    if weights.sha256 != planned["weights_sha256"]:
        raise HostError(
            f"{weights.path}: expected weights of sha256 {planned['weights_sha256']}; received {weights.sha256}; "
            "copy the driver's"
        )
    return build_encoder(target.spec, device, dtype, weights)


def _as_float16(tokens: torch.Tensor) -> torch.Tensor:
    """The tokens as float16; NaN is left for the writer, which names its row."""
    largest, limit = float(torch.maximum(tokens.amax(), -tokens.amin())), torch.finfo(torch.float16).max
    if largest > limit:
        raise ValueError(
            f"features: expected values within float16's range of ±{limit:g}; received {largest:g}; "
            "store them with --dtype float32"
        )
    return tokens.to(torch.float16)
