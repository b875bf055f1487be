"""Runs the three benchmarks behind the README's claims and compares their ratios with those of an earlier run.

Run: python tests/bench/run.py [--quick]. A ratio is of two things that took turns on one machine, so that it may be
compared between machines; the facts of each are beside it. The extra `bench` brings what the loader is compared with.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

HERE = Path(__file__).parent
BENCHES = {
    # The loader is as fast as memory, and ahead of every other reader.
    "loader": (["loader.py"], ["--rows", "5000", "--rounds", "2", "--seconds", "0.2"]),
    # A stage around a model costs next to nothing beside the model's passes.
    "encode": (["jobs_overhead.py", "encode"], ["--rows", "64", "--dim", "256", "--pairs", "1"]),
    # A training step of LightningDiT beside one of diffusers' DiT of the same size.
    "training step": (["model_against_dit.py"], ["--size", "S", "--rows", "4", "--rounds", "1"]),
}


def run(name: str, quick: bool, scratch: Path) -> dict[str, object]:
    """One benchmark in a process of its own; what it prints is shown."""
    words, quick_words = BENCHES[name]
    file = scratch / "result.json"
    script, *rest = words
    command = [sys.executable, str(HERE / script), *rest, *(quick_words if quick else []), "--json", str(file)]
    subprocess.run(command, check=True)
    found: dict[str, object] = json.loads(file.read_text())
    return found


def compare(results: dict[str, dict], earlier: dict[str, dict]) -> None:
    """Print each ratio beside the earlier one."""
    for name, found in results.items():
        before = earlier.get(name, {}).get("ratios", {})
        for what, ratio in found["ratios"].items():
            was = f"was {before[what]:.3f}, {ratio / before[what]:.2f} of it" if what in before else "not there before"
            click.echo(f"{name:>14}: {what}: {ratio:.3f} ({was})")


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("bench-results"), show_default=True)
@click.option("--quick", is_flag=True, help="Small sizes, which show that the benchmarks run and nothing else.")
@click.option("--only", "names", multiple=True, type=click.Choice(list(BENCHES)), help="Some of them.")
def main(folder: Path, quick: bool, names: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    earlier = sorted(folder.glob("*.json"))
    with tempfile.TemporaryDirectory() as scratch:
        results = {name: run(name, quick, Path(scratch)) for name in names or BENCHES}
    file = folder / time.strftime("%Y-%m-%dT%H%M%S.json" if not quick else "%Y-%m-%dT%H%M%S-quick.json", time.gmtime())
    file.write_text(json.dumps(results, indent=2) + "\n")
    compare(results, json.loads(earlier[-1].read_text()) if earlier else {})
    click.echo(f"{file}" + (f", beside {earlier[-1]}" if earlier else ""))


if __name__ == "__main__":
    main()
