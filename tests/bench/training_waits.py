"""The share of a training step spent waiting for data: `python tests/bench/training_waits.py`.

Generators of each size train on 16x16x32 latents through the whole loop; the share is the one that the run itself
writes, of the steps after the first interval, in which files are opened and memory is first touched.
"""

import tempfile
from pathlib import Path

import click
import numpy as np
from machine import machine_facts

from jobs.config.stages import GeneratorConfig, RuntimeConfig
from jobs.runs.metrics_log import read_metrics
from jobs.train.generator import train_generator
from stores import ArraySpec, Store, StoreWriter, new_index

SIZES = ("tiny", "S", "B")


def latents_in(folder: Path, rows: int) -> Store:
    """A latent store of noise."""
    index = new_index([f"{row:06d}" for row in range(rows)], label=[row % 10 for row in range(rows)])
    arrays = [ArraySpec("latents", (16, 16, 32))]
    writer = StoreWriter.create(folder, "latents", "bench", arrays, index, {}, attributes={"latents": "mean"})
    random = np.random.default_rng(0)
    for shard in writer.missing_shards():
        shape = (len(writer.shard_rows(shard)), 1, 16, 16, 32)
        writer.write_shard(shard, {"latents": random.standard_normal(shape, np.float32).astype(np.float16)})
    return writer.finalize()


def wait_share(
    store: Store, folder: Path, size: str, steps: int, batch_size: int, residency: str
) -> tuple[float, float]:
    """(share of the time spent waiting, rows a second) of the second half of the steps."""
    config = GeneratorConfig(
        size=size,
        steps=steps,
        batch_size=batch_size,
        log_every=steps // 2,
        save_every=steps + 1,
        preview_every=0,
        residency=residency,
    )
    run = train_generator(folder, f"{size}-{residency}", store, config, RuntimeConfig(), lambda *_: None)
    line = read_metrics(run.path / "metrics.jsonl")[-1]
    return line["wait_share"], line["rows_per_second"]


@click.command()
@click.option("--rows", default=4096, show_default=True)
@click.option("--steps", default=8, show_default=True)
@click.option("--batch-size", default=8, show_default=True)
@click.option("--size", "sizes", multiple=True, default=SIZES, show_default=True)
def main(rows: int, steps: int, batch_size: int, sizes: tuple[str, ...]) -> None:
    """Print the share of each size, with the rows in memory and streamed."""
    click.echo(machine_facts())
    with tempfile.TemporaryDirectory() as folder:
        store = latents_in(Path(folder) / "latents", rows)
        for size in sizes:
            for residency in ("ram", "stream"):
                share, rate = wait_share(store, Path(folder), size, steps, batch_size, residency)
                click.echo(f"{size:5s} {residency:7s} waits {share:8.4%} of the time   {rate:8.1f} rows/s")


if __name__ == "__main__":
    main()
