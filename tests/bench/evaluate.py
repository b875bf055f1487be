"""What an evaluation takes: `python tests/bench/evaluate.py vectors`, `python tests/bench/evaluate.py extractor`.

vectors: Fréchet distances (at five counts, and extended to infinitely many) of feature vectors that lie in two stores.
extractor: images a second of a pass over a set, beside the bare network over the same batches in memory, as many
passes side by side in both; pairs are interleaved, the ratio is the median over them. Processor seconds vary less than
wall seconds where others work on the machine; all the decoding counts in them.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from machine import machine_facts

from fae.metrics.facts import Extractor, ExtractorFacts
from fae.metrics.measured import Accumulator, Measured
from fae.metrics.scores import set_metrics
from jobs.evaluation.extractor_pass import PassSettings, measure
from jobs.evaluation.image_sets import ImageSet, NpzImages, file_images
from jobs.executors.devices import use_threads
from jobs.executors.inference_pool import InferencePool
from stores import ArraySpec, Store, StoreWriter, new_index
from stores.sources import open_source

ROWS_READ = 1024


@click.group()
def main() -> None:
    """What an evaluation takes."""


@main.command()
@click.option("--rows", default=50_000, show_default=True, help="Vectors of each side.")
@click.option("--width", default=2048, show_default=True)
@click.option("--threads", default=0, help="0 = all processors.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the stores are written and removed again.")
def vectors(rows: int, width: int, threads: int, folder: Path | None) -> None:
    use_threads(threads)
    facts = ExtractorFacts("vectors", "FD", "00" * 32, "none", "features")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        real, made = (write_vectors(Path(place), name, rows, width, seed) for seed, name in enumerate(("real", "made")))
        before, metrics = peak_bytes(), []

        def evaluate() -> None:
            reference = measured(real, facts, points=1)
            metrics.extend(set_metrics(facts, measured(made, facts, points=5), reference))

        seconds, cpu_seconds = timed(evaluate)
    click.echo(machine_facts())
    for metric in metrics:
        click.echo(f"{metric.metric}: {metric.value:.4f} {metric.note}")
    click.echo(
        f"2 x {rows:,} vectors of {width:,}: {seconds:.1f} s (goal 60), {cpu_seconds:.1f} processor seconds, "
        f"peak memory {peak_bytes() / 1e9:.2f} GB of which {before / 1e9:.2f} before it began (goal 1)"
    )


def write_vectors(folder: Path, name: str, rows: int, width: int, seed: int) -> Store:
    """A store of correlated rows (width,) float32, made shard by shard."""
    writer = StoreWriter.create(
        folder,
        kind="features",
        name=name,
        arrays=[ArraySpec("features", (width,), "float32")],
        index=new_index([f"{row:06d}" for row in range(rows)]),
        ingredients={"seed": seed},
        rows_per_shard=ROWS_READ,
    )
    generator = np.random.default_rng(seed)
    scales = np.linspace(0.1, 2, width, dtype=np.float32) + 0.05 * seed
    for shard in range(writer.num_shards):
        count = len(writer.shard_rows(shard))
        values = generator.standard_normal((count, width), np.float32) * scales
        values += generator.standard_normal((count, 1), np.float32) + 1
        writer.write_shard(shard, {"features": values[:, None]})
    return writer.finalize()


def measured(store: Store, facts: ExtractorFacts, points: int) -> Measured:
    """The store's vectors as `jobs.evaluation.extractor_pass.measure` keeps an extractor's."""
    sums = Accumulator(facts, store.num_rows, kept_rows=0, points=points)
    for start in range(0, store.num_rows, ROWS_READ):
        numbers = np.arange(start, min(start + ROWS_READ, store.num_rows))
        sums.update({"features": torch.from_numpy(store.read("features", numbers))}, numbers)
    return sums.result()


def peak_bytes() -> int:
    """The most memory that this process had in use so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@main.command()
@click.option("--data", help="Folder or tar of images, which are decoded; else an .npz of noise, which is not.")
@click.option("--images", default=256, show_default=True)
@click.option("--size", default=224, show_default=True)
@click.option("--network", default="lite0", show_default=True, help="lite0 or dinov2.")
@click.option("--batch-size", default=16, show_default=True)
@click.option("--pairs", default=5, show_default=True)
@click.option("--threads", default=0, help="0 = all processors.")
def extractor(
    data: str | None, images: int, size: int, network: str, batch_size: int, pairs: int, threads: int
) -> None:
    # With the networks come timm and all that it imports, which an evaluation of vectors does without.
    from fae.metrics.extractors import ExtractorSettings, build_extractor

    count = use_threads(threads)
    built = build_extractor(network, ExtractorSettings())
    how = PassSettings(batch_size, images, 0.01, torch.device("cpu"), count, growing=True)
    with tempfile.TemporaryDirectory() as folder:
        shown = image_set(data, images, size, Path(folder), count)
        total = shown.total
        batches = [batch.pixels.copy() for batch in shown.batches(batch_size)]
        runs = {
            "bare": lambda: bare(built, batches, how),
            "pass": lambda: measure(shown, [built], how, lambda *_: None),
        }
        rounds = [{name: timed(run) for name, run in runs.items()} for _ in range(pairs + 1)][1:]  # the first warms up
    click.echo(machine_facts())
    for place, clock in enumerate(("wall", "processor")):
        ratios = [pair["bare"][place] / pair["pass"][place] for pair in rounds]
        rates = {name: total / min(pair[name][place] for pair in rounds) for name in runs}
        click.echo(
            f"{network}, {total} images of {size} px, {'decoded' if data else 'not decoded'}, {clock} seconds: "
            f"bare {rates['bare']:.1f}/s, pass {rates['pass']:.1f}/s, "
            f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}; goal 0.9)"
        )


def image_set(data: str | None, count: int, size: int, folder: Path, threads: int) -> ImageSet:
    if data is not None:
        cache = folder / "digests.parquet"
        return file_images(open_source(data), size=size, split=None, count=count, cache=cache, threads=threads)
    np.savez(folder / "a.npz", arr_0=np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))
    return NpzImages(folder / "a.npz")


def bare(built: Extractor, batches: list[np.ndarray], how: PassSettings) -> None:
    """The network alone, as many passes side by side as a pass over a set has."""
    passes = InferencePool(how.device, how.threads)
    for running in [passes.submit(built.extract, batch) for batch in batches]:
        running.result()


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """(wall, processor) seconds of one run."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    main()
