"""Captions without padding beside captions filled up to the longest: `python tests/bench/ragged.py`.

Both stores hold the same states of lengths as Flickr8k's captions have (or those of a text store: --like). The loader's
rows per second are compared in turns, so that the machine's other work meets both; on disk the sizes, and what ragged
records would take at least: the tokens themselves, the pooled vectors and the lengths.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from machine import machine_facts

from stores import ArraySpec, Loader, RaggedArray, Store, StoreWriter, new_index, open_store

BATCH, CAPTIONS, WIDTH, LONGEST = 256, 5, 384, 42
NAMES = ("states", "length", "pooled")
# Flickr8k's 10,000 captions (1,800 + 200 images) as MiniLM's tokenizer cuts them: how many have 3, 4, … 42 tokens.
FEWEST = 3
COUNTS = """1 5 12 45 117 271 526 740 873 989 1059 1004 965 823 661 499 418 270 226 132 103 87 58 37 27 14 10 6 5 4 3 3
0 4 2 0 0 0 0 1"""


def lengths_of(like: Path | None, rows: int) -> np.ndarray:
    """Tokens of captions (rows, 5)."""
    random = np.random.default_rng(0)
    if like is None:
        counts = [int(count) for count in COUNTS.split()]
        known = np.repeat(np.arange(FEWEST, FEWEST + len(counts)), counts)
    else:
        store = open_store(like)
        known = np.concatenate([store.read("length", store.rows(), view)[:, 0] for view in range(store.views)])
    return random.choice(known.astype(np.int64), (rows, CAPTIONS))


def write(folder: Path, lengths: np.ndarray, states: np.ndarray, ragged: bool, dtype: str) -> Store:
    """A text store with these lengths, of tokens drawn from `states` (n, C)."""
    longest, rows = int(lengths.max()), len(lengths)
    spec = (
        ArraySpec.ragged("states", (longest, WIDTH), dtype) if ragged else ArraySpec("states", (longest, WIDTH), dtype)
    )
    specs = [spec, ArraySpec("length", (1,), "uint8"), ArraySpec("pooled", (WIDTH,))]
    index, name = new_index([f"{row:08d}" for row in range(rows)]), "ragged" if ragged else "fixed"
    writer = StoreWriter.create(folder, "text", name, specs, index, {}, views=CAPTIONS, permute=False)
    for shard in writer.missing_shards():
        part = writer.shard_rows(shard)
        own = lengths[part.start : part.stop]
        random = np.random.default_rng(shard)
        sequences = RaggedArray.from_lengths(states[random.integers(0, len(states), own.sum())], own)
        given = sequences if ragged else sequences.padded(longest)
        pooled = states[random.integers(0, len(states), own.size)].reshape(*own.shape, WIDTH)
        writer.write_shard(shard, {"states": given, "length": own[..., None].astype(np.uint8), "pooled": pooled})
    return writer.finalize()


def rows_per_second(batches: Iterator[object], seconds: float) -> float:
    next(batches)
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        next(batches)
        count += 1
    return count * BATCH / passed


@click.command()
@click.option("--rows", default=2_000, show_default=True)
@click.option("--like", type=click.Path(path_type=Path), default=None, help="A text store whose lengths are taken.")
@click.option("--dtype", default="float16", show_default=True)
@click.option("--residency", default="ram", show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=0.5, show_default=True, help="Of each reader in each round.")
def main(rows: int, like: Path | None, dtype: str, residency: str, rounds: int, seconds: float) -> None:
    click.echo(machine_facts())
    lengths = lengths_of(like, rows)
    states = np.random.default_rng(1).standard_normal((4096, WIDTH), np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        stores = {ragged: write(Path(scratch), lengths, states, ragged, dtype) for ragged in (False, True)}
        least = lengths.sum() * sum(p.token_bytes for p in stores[True].arrays["states"].token_parts)
        least += lengths.size * (1 + 2 * WIDTH)
        click.echo(f"{lengths.size} captions, {lengths.mean():.1f} tokens on average, at most {lengths.max()}")
        for ragged, store in stores.items():
            size = store.blobs.num_bytes("data.zarr/")
            click.echo(f"{'ragged' if ragged else 'fixed'}: {size / 1e6:.1f} MB, {size / least:.3f} of the minimum")
        readers = {
            "fixed": iter(Loader(stores[False], NAMES, batch_size=BATCH, residency=residency, prefetch=0)),
            "longest": iter(Loader(stores[True], NAMES, batch_size=BATCH, residency=residency, prefetch=0)),
            "packed": iter(
                Loader(stores[True], NAMES, batch_size=BATCH, residency=residency, prefetch=0, padding="packed")
            ),
        }
        found: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(rounds):
            for name, batches in readers.items():
                found[name].append(rows_per_second(batches, seconds))
        for name, rates in found.items():
            ratio = statistics.median(rate / fixed for rate, fixed in zip(rates, found["fixed"], strict=True))
            click.echo(f"{name}: {statistics.median(rates):.0f} rows/s, {ratio:.2f} of fixed")


if __name__ == "__main__":
    main()
