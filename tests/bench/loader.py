"""The loader against torch.index_select and against other ways to read random rows: `python tests/bench/loader.py`.

Rows of 16 KiB (latents 16×16×32 in float16), everything warm, batches of 256, shuffled. All readers take turns in each
round and the median of the rounds counts. Peers come with the extra `bench`; one that is not installed is left out.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import torch
from loader_peers import PEERS, Absent
from machine import machine_facts
from results import write_results
from torch.utils.data import DataLoader

from stores import ArraySpec, Loader, Store, StoreWriter, new_index
from stores.core import new_memory

SHAPE = (16, 16, 32)
BATCH = 256


def make_store(folder: Path, rows: int) -> tuple[Store, np.ndarray]:
    """A latent store and its values (rows, 16, 16, 32) in stored order."""
    values = np.random.default_rng(0).standard_normal((rows, *SHAPE), np.float32).astype(np.float16)
    index = new_index([f"{row:08d}" for row in range(rows)], label=[row % 1000 for row in range(rows)])
    writer = StoreWriter.create(folder, "latents", "bench", [ArraySpec("latents", SHAPE)], index, {}, permute=False)
    for shard in writer.missing_shards():
        span = writer.shard_rows(shard)
        writer.write_shard(shard, {"latents": values[span.start : span.stop, None]})
    return writer.finalize(), values


def ours(store: Store, prefetch: int | None) -> Iterator[object]:
    loader = Loader(store, batch_size=BATCH, residency="ram", prefetch=prefetch, verify=False)
    return iter(loader)


def under_dataloader(store: Store) -> Iterator[object]:
    """The same as torch's DataLoader hands it out."""
    dataset = Loader(store, batch_size=BATCH, residency="ram", verify=False).as_iterable_dataset()
    batches = DataLoader(dataset, batch_size=None)
    while True:
        yield from batches


def balanced(store: Store) -> Iterator[object]:
    """The same with every class equally often."""
    return iter(Loader(store, batch_size=BATCH, residency="ram", order="class-balanced", verify=False))


def index_select(values: np.ndarray) -> Iterator[object]:
    """Random rows into a preallocated tensor: what memory itself gives."""
    table, out = torch.from_numpy(values).flatten(1), torch.empty(BATCH, 16 * 16 * 32, dtype=torch.float16)
    generator = np.random.default_rng(1)
    while True:
        order = torch.from_numpy(generator.permutation(len(values)))
        for start in range(0, len(values) - BATCH + 1, BATCH):
            yield torch.index_select(table, 0, order[start : start + BATCH], out=out)


def at_cache_line(values: np.ndarray) -> np.ndarray:
    """A copy that begins at a cache line, as our loader's memory does; numpy's own begins 16 bytes into a page."""
    copy = new_memory(values.nbytes).view(values.dtype).reshape(values.shape)
    copy[:] = values
    return copy


def rate(batches: Iterator[object], seconds: float, clock: Callable[[], float]) -> float:
    """Samples per second of a clock over about so many seconds, after a batch that is not counted."""
    next(batches)
    count, start = 0, clock()
    while (passed := clock() - start) < seconds:
        next(batches)
        count += BATCH
    return count / passed


@click.command()
@click.option("--rows", default=50_000, show_default=True, help="800 MiB.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="Of each reader in each round.")
@click.option("--processor", is_flag=True, help="Count the process's own seconds, for a machine that others use.")
@click.option("--folder", type=click.Path(path_type=Path), default=None, help="Where to write.")
@click.option("--peer", "chosen", multiple=True, type=click.Choice(sorted(PEERS)), help="Only these; all when absent.")
@click.option("--json", "file", type=click.Path(path_type=Path), default=None, help="Write the ratios here, too.")
def main(
    rows: int,
    rounds: int,
    seconds: float,
    processor: bool,
    folder: Path | None,
    chosen: tuple[str, ...],
    file: Path | None,
) -> None:
    click.echo(machine_facts())
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        store, values = make_store(Path(scratch), rows)
        readers: dict[str, Iterator[object]] = {
            "index_select": index_select(values),
            "index_select, aligned": index_select(at_cache_line(values)),
            "fae-pipe": ours(store, None),
            "fae-pipe, prefetch": ours(store, 2),
            "fae-pipe, DataLoader": under_dataloader(store),
            "fae-pipe, balanced": balanced(store),
        }
        absent = {}
        for name in chosen or PEERS:
            try:
                readers[name] = PEERS[name](Path(scratch) / name, values, store.path, BATCH)
            except Absent as error:
                absent[name] = str(error)
        rates = measure(readers, rounds, seconds, time.process_time if processor else time.perf_counter)
    write_results(file, "loader", report(rates, absent))


def measure(
    readers: dict[str, Iterator[object]], rounds: int, seconds: float, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Rates of every reader in every round; they take turns."""
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, batches in readers.items():
            rates[name].append(rate(batches, seconds, clock))
    return rates


def report(rates: dict[str, list[float]], absent: dict[str, str]) -> dict[str, float]:
    """Print the rates; returns ours as a multiple of each reader's."""
    ratios = {}
    base, own = rates["index_select"], rates["fae-pipe"]
    median: Callable[[list[float]], float] = statistics.median
    for name, found in sorted(rates.items(), key=lambda item: -median(item[1])):
        of_base = median([a / b for a, b in zip(found, base, strict=True)])
        ahead = median([a / b for a, b in zip(own, found, strict=True)])
        ratios[f"fae-pipe / {name}"] = ahead
        click.echo(f"{name:22s} {median(found):12,.0f} samples/s  {of_base:6.3f} of index_select  ours {ahead:7.1f}x")
    for name, why in absent.items():
        click.echo(f"{name:22s} left out: {why}")
    return ratios


if __name__ == "__main__":
    main()
