"""What Ray adds to a whole training command: `python tests/bench/training_start.py`.

A tiny generator is trained for a few steps by `fae-pipe train-gen`, in its own process and then on workers, in pairs;
the difference is the start and end of Ray and of its workers, with all that they import.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from machine import machine_facts

from stores import ArraySpec, StoreWriter, new_index

PROJECT = Path(__file__).parents[2]


def latents_in(root: Path) -> None:
    """A latent store of noise, named bench."""
    index = new_index([f"{row:02d}" for row in range(64)], label=[row % 4 for row in range(64)])
    arrays = [ArraySpec("latents", (4, 4, 8))]
    writer = StoreWriter.create(root / "latents", "latents", "bench", arrays, index, {}, attributes={"latents": "mean"})
    random = np.random.default_rng(0)
    for shard in writer.missing_shards():
        shape = (len(writer.shard_rows(shard)), 1, 4, 4, 8)
        writer.write_shard(shard, {"latents": random.standard_normal(shape).astype(np.float16)})
    writer.finalize()


def command(root: Path, workers: int) -> float:
    """Seconds that the whole command takes."""
    shutil.rmtree(root / "generators", ignore_errors=True)
    words = f"train-gen --root {root} --latents bench --name bench --size tiny --steps 4 --batch-size 8".split()
    words += f"--preview-every 0 --precision fp32 --threads 1 --workers {workers}".split()
    code = "import sys; from pipeline.cli import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, *words],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


@click.command()
@click.option("--workers", default=1, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(workers: int, rounds: int) -> None:
    """Print each pair and the medians."""
    click.echo(machine_facts())
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        latents_in(Path(folder))
        command(Path(folder), 0)  # reads the modules from the disk
        for _ in range(rounds):
            alone, with_ray = command(Path(folder), 0), command(Path(folder), workers)
            pairs.append((alone, with_ray))
            click.echo(f"in process {alone:.1f} s   {workers} workers {with_ray:.1f} s   Ray {with_ray - alone:.1f} s")
    click.echo(
        f"median: Ray adds {statistics.median(after - before for before, after in pairs):.1f} s "
        f"(least {min(after - before for before, after in pairs):.1f} s)"
    )


if __name__ == "__main__":
    main()
