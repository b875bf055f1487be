"""One GPU in one run: `python tests/bench/gpu.py --out docs/benchmarks`; JSON and Markdown with the machine's facts.

No network, no Ray, weights of random numbers: what is measured does not depend on them. Figures stand beside the
device's own ceilings (a copy, a bf16 product). On an H200 it takes at most eight minutes; `--device cpu --tiny` shows
that it runs, and nothing else. A work that fails is written down with its error, and the others go on.
"""

import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch
from gpu_works import Bench, works
from machine import machine_facts

from jobs.executors.devices import keep_freed_memory, pick_device
from jobs.executors.peaks import peak_tflops


def measure(bench: Bench, names: tuple[str, ...], until: float) -> dict[str, dict[str, Any]]:
    """The metrics of each work, those that time ran out for left out by name."""
    results: dict[str, dict[str, Any]] = {}
    for name, work in works(bench, names):
        if time.monotonic() > until:
            results[name] = {"left_out": "no time left"}
            continue
        try:
            results[name] = work()
        except (RuntimeError, ValueError, ImportError) as error:
            results[name] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        click.echo(line(name, results[name]))
    return results


def line(name: str, found: dict[str, Any]) -> str:
    """A work and its metrics."""
    parts = (f"{key} {value:,.4g}" if isinstance(value, float) else f"{key}: {value}" for key, value in found.items())
    return f"{name:42s} {'  '.join(parts)}"


def with_ratios(results: dict[str, dict[str, Any]], peak: float | None) -> dict[str, dict[str, Any]]:
    """The metrics with what they reach of the device's ceilings."""
    ceiling = results.get("ceilings", {})
    for found in results.values():
        if "tflops" in found and ceiling.get("bf16_tflops"):
            found["of_bf16_product"] = found["tflops"] / ceiling["bf16_tflops"]
        if "tflops" in found and peak:
            found["mfu"] = found["tflops"] / peak
        if "gb_per_second" in found and ceiling.get("pinned_gb_per_second"):
            found["of_pinned_copy"] = found["gb_per_second"] / ceiling["pinned_gb_per_second"]
    return results


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    rows = [f"# {record['device']}", "", record["machine"], "", "| what | metrics |", "|---|---|"]
    if record["tiny"]:
        rows.insert(2, "Tiny sizes: these numbers say that the script runs, and nothing of the device.\n")
    for name, found in record["results"].items():
        rows.append(f"| {name} | {line('', found).strip().replace('|', '/')} |")
    return "\n".join(rows) + "\n"


@click.command()
@click.option("--device", default="auto", show_default=True)
@click.option("--tiny", is_flag=True, help="Small sizes, which show that the script runs and nothing else.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Folder of both files.")
@click.option("--only", multiple=True, metavar="PART", help="Works whose name has this in it.")
@click.option("--seconds", default=None, type=float, help="Of each work; 3, or 0.02 with --tiny.")
@click.option("--minutes", default=8.0, show_default=True, help="In all; works that are left then are left out.")
def main(
    device: str, tiny: bool, out: Path | None, only: tuple[str, ...], seconds: float | None, minutes: float
) -> None:
    until, place = time.monotonic() + 60 * minutes, pick_device(device)
    torch.manual_seed(0)
    if place.type == "cpu":
        keep_freed_memory()
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    peak = peak_tflops(place)
    click.echo(machine_facts())
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.make(place, seconds or (0.02 if tiny else 3.0), tiny, Path(folder))
        results = with_ratios(measure(bench, only, until), peak)
    record = {
        "bench": "gpu",
        "device": name,
        "machine": machine_facts(),
        "unix_seconds": round(time.time()),
        "tiny": tiny,
        "peak_tflops": peak,
        "results": results,
    }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        file = out / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        file.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        file.with_suffix(".md").write_text(markdown(record))
        click.echo(str(file.with_suffix(".json")))


if __name__ == "__main__":
    main()
