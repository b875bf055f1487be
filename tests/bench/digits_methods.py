"""What each method since the paper does on the demo's digits: the recipe digits-2026, judged by the digits held out.

Every variant is run where it is not complete, so that a stopped command goes on. Samples without guidance are judged in
the 64 pixels that the digits really have: a Fréchet distance to the held-out half (`distance`), the share that a
classifier of that half recognizes as the class asked for, recall beside that of real digits, and copies. `floor` is the
distance of rebuilt held-out digits; `above_floor` what the generator adds. Processor seconds are those of the training.
Autoencoders are put side by side with the predictors of `fae-pipe compare`, and each predictor's order beside the
measured one (Spearman).

Run: python tests/bench/digits_methods.py --root DIR [--only NAMES] [--out RESULTS.json] [--markdown RESULTS.md]
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from machine import machine_facts

from fae.metrics import Moments, frechet_distance
from fae.models import PixelDecoder
from jobs.config import EvalConfig
from jobs.executors import use_threads
from jobs.runs import METRICS_FILE, load_model, processor_seconds
from jobs.train import rebuilder, reconstruct
from pipeline.artifacts import DigitSet, digit_pixels, measure_digits
from pipeline.config import load_recipe, override
from pipeline.console import Output
from pipeline.evaluation import compare_autoencoders, comparison_rows, predictor_ranks
from pipeline.workflow import RecipeResult, StageRunner, markdown_table, replicated_table, run_workflow, variants_of
from stores import Store
from stores.core import reference_store

CPU = torch.device("cpu")
PREDICTED_ROWS = 128
MEASURED = "distance"


def judge(made: RecipeResult, floor: float) -> dict[str, float]:
    """The metrics of a variant's samples."""
    train, heldout = (real_digits(reference_store(made.features), split) for split in ("train", "val"))
    samples = DigitSet(*made.samples.read())
    found = measure_digits(train, heldout, samples, samples, heldout)
    distance = pixel_distance(samples.images, heldout.images)
    return {
        MEASURED: round(distance, 2),
        "above_floor": round(distance - floor, 2),
        "recognized_percent": round(100 * found.unguided_recognized, 1),
        "recall_ratio": round(found.recall_ratio, 3),
        "copies_percent": round(100 * found.copies_unguided, 1),
    }


def real_digits(features: Store, split: str) -> DigitSet:
    """The real digits of one half."""
    rows = features.rows(split)
    return DigitSet(features.read("pixels", rows), features.labels[rows])


def pixel_distance(images: np.ndarray, others: np.ndarray) -> float:
    """Fréchet distance of two sets of digits (N, H, W, 3) in their 8×8 gray values."""
    sides = [Moments(64).update(torch.from_numpy(digit_pixels(one))) for one in (images, others)]
    (mean, covariance), (other_mean, other_covariance) = ((side.mean, side.covariance) for side in sides)
    return float(frechet_distance(mean, covariance, other_mean, other_covariance))


def rebuilt_distance(made: RecipeResult) -> float:
    """The distance of held-out digits that the autoencoder and the decoder rebuild."""
    assert made.decoder is not None
    features = reference_store(made.features)
    decoder = load_model(PixelDecoder, made.decoder.model_path, CPU)
    originals, rebuilt = reconstruct(decoder, features, features.rows("val"), rebuilder(made.autoencoder, CPU), CPU)
    return pixel_distance(rebuilt, originals)


def run_variants(root: Path, only: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    """A record for each variant, and the first variant of each autoencoder by its folder."""
    recipe = override(load_recipe("digits-2026"), {"runtime.executor": "local"})
    floors: dict[Path, float] = {}
    records, autoencoders = [], {}
    for variant in variants_of(replace(recipe, eval=EvalConfig())):
        if only and variant.name not in only:
            continue
        made = run_workflow(StageRunner(root, variant.recipe, Output(json=True)))
        assert made is not None
        path, training = made.autoencoder.path, made.models.generator.record
        if path not in floors:
            floors[path], autoencoders[variant.name] = rebuilt_distance(made), path
        seconds = processor_seconds(made.models.generator.path / METRICS_FILE)
        metrics = {
            "processor_seconds": None if seconds is None else round(seconds, 1),
            "velocity_mse": round(training.metrics["val_velocity_mse"], 4),
            "floor": round(floors[path], 2),
            **judge(made, floors[path]),
        }
        records.append({"variant": variant.name, "values": variant.values, "metrics": metrics})
        print(json.dumps(records[-1]), flush=True)
    return records, autoencoders


def side_by_side(root: Path, records: list[dict[str, Any]], autoencoders: dict[str, Path]) -> list[dict[str, Any]]:
    """The autoencoders with their predictors and the measured distance of a generator on their latents."""
    measured = {record["variant"]: record["metrics"] for record in records}
    output, found = Output(json=True), []
    for path in autoencoders.values():
        file = root / "predicted" / f"{path.name}.json"
        if not file.exists():  # so that a stopped command goes on
            file.parent.mkdir(exist_ok=True)
            file.write_text(
                json.dumps(compare_autoencoders(root, [str(path)], PREDICTED_ROWS, True, CPU, output.progress))
            )
        found += json.loads(file.read_text())
    for name, record in zip(autoencoders, found, strict=True):
        record["name"] = name
        record["metrics"] |= {key: measured[name][key] for key in (MEASURED, "above_floor", "floor")}
    return found


def markdown(records: Sequence[dict[str, Any]], compared: Sequence[dict[str, Any]]) -> str:
    """All tables."""
    rows = [{"variant": one["variant"], **one["metrics"]} for one in records]
    parts = [f"Machine: {machine_facts()}."]
    if seeds := markdown_table(replicated_table(records)):
        parts += ["## Over seeds", seeds]
    parts += ["## Each run", markdown_table(rows)]
    if compared:
        parts += ["## Autoencoders", markdown_table(comparison_rows(compared))]
        parts += [
            "## Order of the predictors beside the measured one",
            markdown_table(predictor_ranks(compared, MEASURED)),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


@click.command()
@click.option("--root", type=click.Path(path_type=Path), default=Path("fae-runs"), show_default=True)
@click.option("--only", default="", help="Variants of the recipe, separated by commas; all when absent.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the records as JSON.")
@click.option("--markdown", "table", type=click.Path(path_type=Path), help="Write the tables as Markdown.")
def main(root: Path, only: str, out: Path | None, table: Path | None) -> None:
    """Print a JSON line for each variant, then write what was asked for."""
    use_threads(1)
    records, autoencoders = run_variants(root, [name for name in only.split(",") if name])
    compared = side_by_side(root, records, autoencoders) if len(autoencoders) > 1 else []
    if out is not None:
        content = {"machine": machine_facts(), "variants": records, "autoencoders": compared}
        out.write_text(json.dumps(content | {"ranks": predictor_ranks(compared, MEASURED)}, indent=1, default=str))
    if table is not None:
        table.write_text(markdown(records, compared))


if __name__ == "__main__":
    main()
