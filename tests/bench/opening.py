"""Opening a store of ImageNet's size and drawing its first batch order: `python tests/bench/opening.py`.

Each measurement is a fresh process: seconds and resident memory from after the imports to the first batch's rows. Then
10^8 rows, permuted without a table of them.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
from machine import machine_facts

from stores import ArraySpec, StoreWriter, new_index

OPEN = """
import resource, sys, time
import numpy as np, torch
from stores import Loader, open_store
from stores.loader.batch_sampler import BatchSampler
from stores.loader.epoch_orders import FullShuffle
import stores.loader.loader

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

before, start = resident(), time.perf_counter()
if sys.argv[1].isdigit():
    sampler = BatchSampler(FullShuffle(int(sys.argv[1]), 0, 1 << 20), 256)
else:
    store = open_store(sys.argv[1])
    rows = store.rows("train")
    sampler = BatchSampler(FullShuffle(len(rows), 0, 1 << 20), 256)
first = sampler.order.draws(0, *sampler.offsets(0)).positions
assert len(np.unique(first)) == 256
print(time.perf_counter() - start, (resident() - before) / 2**20)
"""


def measure(argument: str) -> tuple[float, float]:
    """(seconds, MiB) of a fresh process."""
    done = subprocess.run([sys.executable, "-c", OPEN, argument], capture_output=True, text=True, check=True)
    seconds, mib = map(float, done.stdout.split())
    return seconds, mib


@click.command()
@click.option("--rows", default=1_281_167, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=None, help="Where to write.")
def main(rows: int, rounds: int, folder: Path | None) -> None:
    click.echo(machine_facts())
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        keys = [f"n{row % 1000:08d}/n{row % 1000:08d}_{row}.JPEG" for row in range(rows)]
        index = new_index(keys, label=[row % 1000 for row in range(rows)], source=["train.tar"] * rows)
        writer = StoreWriter.create(Path(scratch), "latents", "bench", [ArraySpec("latents", (1, 1, 4))], index, {})
        for shard in writer.missing_shards():
            writer.write_shard(shard, {"latents": np.ones((len(writer.shard_rows(shard)), 1, 1, 1, 4), np.float16)})
        store = writer.finalize()
        report(f"{rows:,} rows opened", [measure(str(store.path)) for _ in range(rounds)])
    report("100,000,000 rows permuted", [measure("100000000") for _ in range(rounds)])


def report(what: str, found: list[tuple[float, float]]) -> None:
    seconds, mib = np.median(found, axis=0)
    click.echo(f"{what}: {seconds:.3f} s to the first batch's rows, {mib:.0f} MiB of added resident memory")


if __name__ == "__main__":
    main()
