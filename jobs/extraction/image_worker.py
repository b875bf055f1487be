"""The worker that fills feature stores: images decoded once, for one encoder or several, shard by shard."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch

from fae.encoders import CompiledEncoder, FrozenEncoder, HookEncoder, resize
from fae.images import ImageError, decode_image
from jobs.config import height_width
from jobs.executors import Arrival, SetWorker, ShardResult, StageTimer, host_buffer
from jobs.extraction.decoders import Decoders, DecodeTimeout, Decoding
from jobs.extraction.encoding_tools import Encoder, EncodingTools, Target
from jobs.extraction.indexed_images import COLUMNS, IndexRow, check_data, decode_as_scanned, open_on_host, read_image
from stores.sources import Source
from stores.write import ReusedRows

Size = tuple[int, ...]
Pixels = dict[Size, np.ndarray]


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

    def __init__(self, targets: Sequence[Target], source: Source, tools: EncodingTools) -> None:
        self.source, self.config, self.decoders, self.device = source, targets[0].config, tools.decoders, tools.device
        self.builders = [_StoreBuilder(target, tools) for target in targets]
        self.sizes = {builder.input_size for builder in self.builders}
        self.coarsest = max(
            (builder.writer for builder in self.builders), key=lambda writer: writer.manifest.rows_per_shard
        )

    def run(self, unit: int) -> ShardResult:
        """Extract and commit what is missing of a unit; `seconds` in the result is the time waited, by part."""
        span = self.coarsest.shard_rows(unit)
        parts = [part for builder in self.builders for part in builder.missing(span)]
        rows = np.unique(np.concatenate([np.empty(0, np.int64), *(part.new_rows() for part in parts)]))
        timer, pixels = StageTimer(), self._blank_images(len(rows))
        images = _Images(rows, pixels, self._start_decoding(rows, pixels), self.decoders)
        for part in parts:
            part.builder.write(part, images, timer)
        rejected = len(images.reasons(rows))
        return {"shard": unit, "rows": len(span), "rejected": rejected, "seconds": timer.seconds}

    def _blank_images(self, rows: int) -> Pixels:
        """Room for images (rows, V, H, W, 3) of each size that is stored or that an encoder takes."""
        stored = height_width(self.config.image_size)
        views = self.coarsest.manifest.views
        shapes = {size: (rows, views, *size, 3) for size in {stored} | self.sizes}
        return {size: host_buffer(shape, torch.uint8, self.device).zero_().numpy() for size, shape in shapes.items()}

    def _start_decoding(self, rows: np.ndarray, pixels: Pixels) -> list[Decoding]:
        """Fill the images of each size, the k-th of the result row k, as they lie in their files."""
        lines: list[IndexRow] = self.coarsest.index_rows(rows, COLUMNS).to_pylist()
        order = sorted(range(len(rows)), key=lambda k: (lines[k]["source"], lines[k]["offset"]))
        started = {k: self._start({size: one[k] for size, one in pixels.items()}, lines[k]) for k in order}
        return [started[k] for k in range(len(rows))]

    def _start(self, views: Pixels, line: IndexRow) -> Decoding:
        """Fill the views (V, H, W, 3) of one image in each size, the second mirrored."""
        size = height_width(self.config.image_size)
        stored = views[size]

        def decode(data: bytes) -> None:
            image = decode_as_scanned(lambda data: decode_image(data, size), data, line)
            stored[0] = image
            stored[1:] = image[:, ::-1]
            for other, resized in views.items():
                if resized is not stored:
                    resized[:] = resize(torch.from_numpy(stored), other).numpy()

        return self.decoders.submit(lambda: read_image(self.source, line), decode)


@dataclass(frozen=True)
class _Images:
    """The images of store rows (ascending), on their way into `pixels` (rows, V, H, W, 3) of each size (H, W)."""

    rows: np.ndarray
    pixels: Pixels
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

    def of(self, rows: np.ndarray, size: Size) -> np.ndarray:
        """The pixels of some rows; no copy when these lie side by side."""
        places, pixels = np.searchsorted(self.rows, rows), self.pixels[size]
        if len(places) and places[-1] - places[0] == len(places) - 1:
            return pixels[places[0] : places[-1] + 1]
        return pixels[places]


class _StoreBuilder:
    """One encoder and the store that it fills."""

    encoder: Encoder | CompiledEncoder

    def __init__(self, target: Target, tools: EncodingTools) -> None:
        self.writer, self.config = open_on_host(target.store), target.config
        self.device, self.stages, self.inference_pool = tools.device, tools.stages, tools.inference_pool
        self.stored_size = height_width(self.config.image_size)
        # What was recorded when the store was begun counts: batches of another size may round differently.
        self.batch_size = int(self.writer.manifest.attributes["batch_size"])
        self.encoder = encoder = tools.encoders[target]
        self.input_size: Size = self.stored_size if isinstance(encoder, HookEncoder) else encoder.input_size
        if self.config.compile and isinstance(encoder, FrozenEncoder):
            rows = self.batch_size * self.writer.manifest.views
            # Where the passes run: the code is for that thread's number of threads.
            self.encoder = self.inference_pool.submit(CompiledEncoder, encoder, rows).result()

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
        features = host_buffer(shape, self._dtype, self.device)
        starts = range(0, len(rows), self.batch_size)
        largest = host_buffer((len(starts),), torch.float32, self.device)
        rejected: dict[int, str] = {}
        encoded: list[Future[Arrival]] = []
        for number, start in enumerate(starts):
            batch = slice(start, start + self.batch_size)
            rejected |= images.reasons(rows[batch])
            timer.lap("decode")
            outputs = (features[batch], largest[number])
            encoded.append(self.inference_pool.submit(self._encode, images.of(rows[batch], self.input_size), outputs))
            timer.lap("encode")
        for done in encoded:
            done.result().wait()
        _check_range(largest, self._dtype)
        timer.lap("encode")
        arrays = {"features": kept.spread(features.numpy())}
        if self.config.pixels:
            arrays["pixels"] = kept.spread(images.of(rows, self.stored_size))
        self.writer.write_shard(part.shard, arrays, rejected=rejected, reused=kept)
        timer.lap("write")

    @property
    def _dtype(self) -> torch.dtype:
        """What comes back from the device: float16 when that is stored, half the bytes to move, else float32."""
        return torch.float16 if self.config.dtype == "float16" else torch.float32

    def _encode(self, pixels: np.ndarray, outputs: tuple[torch.Tensor, torch.Tensor]) -> Arrival:
        """uint8 (N, V, H, W, 3) -> the features (N, V, h, w, C), and the largest magnitude among them, a scalar."""
        features, _ = outputs

        def forward(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            tokens = self.encoder(batch.flatten(0, 1))  # (N*V, h, w, C)
            largest = torch.maximum(tokens.amax(), -tokens.amin())
            return tokens.to(features.dtype).reshape(features.shape), largest  # (N*V, h, w, C) -> (N, V, h, w, C)

        return self.stages.run(torch.from_numpy(pixels), forward, outputs)


def extract_worker(
    members: Sequence[Sequence[Target]], firsts: Sequence[int], source: Source, device: str
) -> SetWorker:
    """A worker for the units of several members, each one store or several whose images are decoded once.

    Args:
        members: the targets of each.
        firsts: the number of each one's first unit.
        source: where the images are.
        device: where the encoders run.

    Raises:
        HostError: this host sees other data, another root or other weights than the driver.
    """
    check_data(source, open_on_host(members[0][0].store))
    tools = EncodingTools.load([target for targets in members for target in targets], device)
    return SetWorker([ExtractWorker(targets, source, tools) for targets in members], firsts)


def _check_range(largest: torch.Tensor, dtype: torch.dtype) -> None:
    """Look at the largest magnitudes of batches; NaN is left for the writer, which names its row.

    Raises:
        ValueError: one is beyond the dtype's range.
    """
    limit = torch.finfo(dtype).max
    beyond = largest[largest > limit]
    if len(beyond):
        raise ValueError(
            f"features: expected values within float16's range of ±{limit:g}; received {float(beyond.max()):g}; "
            "store them with --dtype float32"
        )
