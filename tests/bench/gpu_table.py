"""The table of docs/performance.md: what each known GPU did: `python tests/bench/gpu_table.py`."""

from pathlib import Path

import click

from jobs.executors.peaks import BF16_TFLOPS
from pipeline.plan.gpu_benchmarks import FOLDER, GpuBenchmark, gpu_benchmarks

ROOT = Path(__file__).parents[2]
WORK, EPOCHS, IMAGENET_IMAGES = "train LightningDiT-XL", 80, 1_281_167
HEAD = ["| GPU | batch | memory | images/s | hours to 80 epochs of ImageNet |", "|---|---|---|---|---|"]
NO_FIGURE = "no figure yet"


def table(benchmarks: list[GpuBenchmark]) -> list[str]:
    """A row for each known GPU, by its newest run; of its training steps of LightningDiT-XL the fastest."""
    return [*HEAD, *(_row(name, [one for one in benchmarks if one.is_named(name)]) for name, _ in BF16_TFLOPS)]


def _row(name: str, runs: list[GpuBenchmark]) -> str:
    newest = max(runs, key=lambda one: one.unix_seconds, default=None)
    steps = newest.results if newest else {}
    measured = {
        work: found
        for work, found in steps.items()
        if work.startswith(WORK) and "online" not in work and "images_per_second" in found
    }
    if not measured:
        return f"| {name} | {NO_FIGURE} | | | |"
    work = max(measured, key=lambda one: float(measured[one]["images_per_second"]))
    rate, memory = float(measured[work]["images_per_second"]), measured[work].get("memory_gb")
    held = "" if memory is None else f"{memory:.0f} GB"
    hours = EPOCHS * IMAGENET_IMAGES / rate / 3600
    return f"| {name} | {work.removeprefix(WORK).strip()} | {held} | {rate:,.0f} | {hours:,.0f} |"


if __name__ == "__main__":
    click.echo("\n".join(table(gpu_benchmarks(ROOT / FOLDER))))
