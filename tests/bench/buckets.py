"""A bucket set's loader against a store's and against index_select, by processor time: `python tests/bench/buckets.py`.

Rows of 16 KiB (latents 16×16×32 in float16) in memory, batches of 256, shuffled: as one store, as a set of one store,
and as a set of ten. All take turns in each round; ratios are taken in each round, and their median counts.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from loader import BATCH, index_select
from results import write_results

from stores import ArraySpec, BucketLoader, Loader, Store, StoreWriter, new_index

SHAPE = (16, 16, 32)


def make_store(folder: Path, name: str, values: np.ndarray) -> Store:
    """A latent store of these values (rows, 16, 16, 32)."""
    keys = [f"{row:08d}" for row in range(len(values))]
    writer = StoreWriter.create(folder, "latents", name, [ArraySpec("latents", SHAPE)], new_index(keys), {"name": name})
    for shard in writer.missing_shards():
        span = writer.shard_rows(shard)
        writer.write_shard(shard, {"latents": values[span.start : span.stop, None]})
    return writer.finalize()


def processor_seconds(batches: Iterator[object], count: int) -> float:
    """Of all threads of this process, for so many batches."""
    started = time.process_time()
    for _ in range(count):
        next(batches)
    return time.process_time() - started


@click.command()
@click.option("--rows", default=20_000, show_default=True)
@click.option("--rounds", default=9, show_default=True)
@click.option("--batches", default=60, show_default=True, help="Of each reader in a round.")
@click.option("--results", type=click.Path(path_type=Path), help="File for the ratios.")
def main(rows: int, rounds: int, batches: int, results: Path | None) -> None:
    torch.set_num_threads(1)
    values = np.random.default_rng(0).standard_normal((rows, *SHAPE), np.float32).astype(np.float16)
    how = {"batch_size": BATCH, "residency": "ram", "verify": False}
    with tempfile.TemporaryDirectory() as folder:
        whole = make_store(Path(folder), "whole", values)
        parts = [make_store(Path(folder), f"part{number}", part) for number, part in enumerate(np.split(values, 10))]
        readers = {
            "index_select": index_select(values),
            "store": iter(Loader(whole, **how)),
            "set of one": iter(BucketLoader([whole], drop_last=True, **how)),
            "set of ten": iter(BucketLoader(parts, equal_batches=True, **how)),
        }
        for reader in readers.values():
            processor_seconds(reader, batches)  # warm
        found = [{name: processor_seconds(reader, batches) for name, reader in readers.items()} for _ in range(rounds)]
    pairs = {"set of one": "store", "set of ten": "store", "store": "index_select"}
    ratios = {
        f"{name} / {other}": statistics.median(one[other] / one[name] for one in found) for name, other in pairs.items()
    }
    for name, ratio in ratios.items():
        click.echo(f"{name}: {ratio:.3f} of its rate by processor time, median of {rounds} rounds")
    write_results(results, "buckets", ratios)


if __name__ == "__main__":
    main()
