"""The loader of two stores beside the two alone, and beside torch.index_select of both: `python tests/bench/joint.py`.

Latents of 16 KiB and captions of 42 × 384 states, four a row, everything in memory and warm. The joint loader's time
for a batch is compared with the sum of the two loaders', which take turns with it.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from machine import machine_facts

from stores import ArraySpec, JointLoader, Loader, Store, StoreWriter, new_index

BATCH, CAPTIONS = 256, 4
LATENTS = [ArraySpec("latents", (16, 16, 32))]
TEXT = [ArraySpec("states", (42, 384)), ArraySpec("length", (1,), "uint8"), ArraySpec("pooled", (384,))]
NAMES = tuple(spec.name for spec in TEXT)


def make_store(folder: Path, kind: str, arrays: list[ArraySpec], views: int, rows: int) -> Store:
    """A store of noise."""
    random, index = np.random.default_rng(0), new_index([f"{row:08d}" for row in range(rows)])
    writer = StoreWriter.create(folder, kind, "bench", arrays, index, {}, views=views, permute=False)
    for shard in writer.missing_shards():
        shape = (len(writer.shard_rows(shard)), views)
        writer.write_shard(shard, {spec.name: _noise(random, (*shape, *spec.row_shape), spec.dtype) for spec in arrays})
    return writer.finalize()


def _noise(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype == "uint8":
        return random.integers(0, 42, shape, np.uint8)
    return random.standard_normal(shape, np.float32).astype(dtype)


def index_select(store: Store, names: tuple[str, ...]) -> Iterator[object]:
    """Random rows and views of each array into preallocated tensors."""
    rows, generator = np.arange(store.num_rows), np.random.default_rng(1)
    tables = [
        torch.from_numpy(np.stack([store.read(name, rows, view) for view in range(store.views)], axis=1)).flatten(0, 1)
        for name in names
    ]
    outs = [torch.empty(BATCH, *table.shape[1:], dtype=table.dtype) for table in tables]
    while True:
        records = torch.from_numpy(generator.integers(0, len(tables[0]), BATCH))
        yield [torch.index_select(table, 0, records, out=out) for table, out in zip(tables, outs, strict=True)]


def seconds_a_batch(batches: Iterator[object], seconds: float) -> float:
    """Over about so many seconds, after a batch that is not counted."""
    next(batches)
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        next(batches)
        count += 1
    return passed / count


@click.command()
@click.option("--rows", default=6_000, show_default=True, help="850 MB.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=0.5, show_default=True, help="Of each reader in each round.")
@click.option("--prefetch", default=0, show_default=True)
def main(rows: int, rounds: int, seconds: float, prefetch: int) -> None:
    click.echo(machine_facts())
    with tempfile.TemporaryDirectory() as scratch:
        latents = make_store(Path(scratch), "latents", LATENTS, 1, rows)
        text = make_store(Path(scratch), "text", TEXT, CAPTIONS, rows)
        readers: dict[str, Iterator[object]] = {
            "latents": iter(Loader(latents, batch_size=BATCH, residency="ram", prefetch=prefetch)),
            "text": iter(Loader(text, NAMES, batch_size=BATCH, residency="ram", prefetch=prefetch)),
            "joint": iter(JointLoader(latents, text, batch_size=BATCH, residency="ram", prefetch=prefetch)),
            "bare latents": index_select(latents, ("latents",)),
            "bare text": index_select(text, NAMES),
        }
        times = [{name: seconds_a_batch(reader, seconds) for name, reader in readers.items()} for _ in range(rounds)]
    for name in readers:
        click.echo(f"{name:>14}: {BATCH / statistics.median(one[name] for one in times):10,.0f} samples/s")
    alone = statistics.median((one["latents"] + one["text"]) / one["joint"] for one in times)
    bare = statistics.median((one["bare latents"] + one["bare text"]) / one["joint"] for one in times)
    click.echo(
        f"both loaders' time by the joint one's {alone:.2f} (goal 0.95); index_select's by the joint one's {bare:.2f}"
    )


if __name__ == "__main__":
    main()
