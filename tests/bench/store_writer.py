"""What a durable, checked shard costs beside its bare bytes: `python tests/bench/store_writer.py [--folder DIR]`.

Bare: one file of the same bytes, written with large write calls and flushed with fsync. Shard: `write_shard` of
float16 features as extraction calls it: checksums, digest, finiteness, float64 sums, temporary, fsync, rename,
folder fsync and the commit record. Two pairs: one shard at a time, and two in flight as the extract workers have them,
against two bare writes in flight. Runs are interleaved; the ratio is the median over the pairs. Wall time depends on
the disk and on whatever else runs; the processor seconds of this process, user and system, say what the checks cost.
"""

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
from machine import machine_facts

from stores import ArraySpec, StoreWriter, new_index

SPEC = ArraySpec("features", (16, 16, 1536))
ROWS = 128
SHARDS = 4


def bare(path: Path, data: memoryview) -> None:
    """Write and flush; nothing else."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)
    os.close(descriptor)


def seconds(work: Callable[[int], object], count: int, in_flight: int) -> np.ndarray:
    """(2,) wall and processor seconds of `count` calls, so many at a time."""
    with ThreadPoolExecutor(in_flight) as pool:
        start = [time.perf_counter(), time.process_time()]
        list(pool.map(work, range(count)))
        return np.subtract([time.perf_counter(), time.process_time()], start)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=None, help="Where to write.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
def main(folder: Path | None, rounds: int) -> None:
    click.echo(machine_facts())
    values = np.random.default_rng(0).standard_normal((ROWS, 1, 16, 16, 1536), np.float32).astype(np.float16)
    values = np.concatenate([values, values[:, :, :, ::-1]], axis=1)  # (rows, 2 views, ...)
    data = values.reshape(-1).view(np.uint8).data
    click.echo(f"shards of {len(data) / 2**20:.0f} MiB, median of {rounds} interleaved rounds of {SHARDS} shards")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for in_flight in (1, 2):
            pairs = [one_round(Path(scratch), str(number), values, data, in_flight) for number in range(rounds)]
            wall, processor = np.moveaxis(np.array(pairs), -1, 0)  # (rounds, bare and shard, clock) -> (rounds, 2) each
            rates = SHARDS * len(data) / 1e9 / np.median(wall, axis=0)
            cost = np.median(processor, axis=0) / SHARDS
            ratio = np.median(wall[:, 0] / wall[:, 1])
            click.echo(
                f"{in_flight} in flight: bare {rates[0]:.2f} GB/s, shards {rates[1]:.2f} GB/s, ratio {ratio:.2f}; "
                f"processor seconds a shard: bare {cost[0]:.3f}, shard {cost[1]:.3f}"
            )


def one_round(
    scratch: Path, name: str, values: np.ndarray, data: memoryview, in_flight: int
) -> tuple[np.ndarray, np.ndarray]:
    """Wall and processor seconds of the bare files and of the shards."""
    files = [scratch / f"bare-{name}-{number}" for number in range(SHARDS)]
    first = seconds(lambda number: bare(files[number], data), SHARDS, in_flight)
    for file in files:
        file.unlink()
    index = new_index([f"row-{row}" for row in range(SHARDS * ROWS)])
    writer = StoreWriter.create(scratch, "features", "bench", [SPEC], index, {}, views=2, rows_per_shard=ROWS)
    second = seconds(lambda shard: writer.write_shard(shard, {"features": values}), SHARDS, in_flight)
    for file in sorted(writer.path.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    return first, second


if __name__ == "__main__":
    main()
