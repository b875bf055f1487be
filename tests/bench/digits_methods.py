"""What each method since the paper does on the demo's digits: the recipe digits-2026, judged by the digits held out.

Every variant is run where it is not complete, so that a stopped command goes on. Samples without guidance are judged in
the 64 pixels that the digits really have: a Fréchet distance to the held-out half (`distance`), the share that a
classifier of that half recognizes as the class asked for, recall beside that of real digits, and copies. `floor` is the
distance of rebuilt held-out digits; `above_floor` what the generator adds. Processor seconds are those of the training.
Autoencoders are put side by side with the predictors of `fae-pipe compare`, and each predictor's order beside the
measured one (Spearman). With `--every STEPS` trainings keep a checkpoint so often, and samples of each give the
distance over processor seconds: after what share of the first variant's seconds each other one has its last distance.

Run: python tests/bench/digits_methods.py --root DIR [--only NAMES] [--every STEPS] [--out RESULTS.json]
    [--markdown RESULTS.md]
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
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
from jobs.runs import METRICS_FILE, RAW, checkpoints, load_model, processor_seconds, read_metrics, step_of
from jobs.train import rebuilder, reconstruct
from pipeline.artifacts import DigitSet, digit_pixels, measure_digits
from pipeline.config import load_recipe, override
from pipeline.console import Output
from pipeline.evaluation import compare_autoencoders, comparison_rows, predictor_ranks
from pipeline.stages import SAMPLE
from pipeline.workflow import (
    RecipeResult,
    StageRunner,
    markdown_table,
    metrics_of,
    replicated_table,
    run_workflow,
    variants_of,
)
from stores import Store
from stores.core import reference_store

CPU = torch.device("cpu")
PREDICTED_ROWS = 128
MEASURED = "distance"
SECONDS = "processor_seconds"


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


def curve(runner: StageRunner, made: RecipeResult) -> dict[str, float]:
    """`<metric> @<step>` of each kept checkpoint before the last step: processor seconds so far, and the distance."""
    run, heldout = made.models.generator, real_digits(reference_store(made.features), "val")
    lines, found = read_metrics(run.path / METRICS_FILE), {}
    for step in sorted(map(step_of, checkpoints(run.path / "checkpoints"))):
        if step < run.record.config["steps"]:
            samples = runner.do(SAMPLE, made.models, checkpoint=step)
            assert samples is not None
            seconds = sum(line.get(SECONDS, 0.0) for line in lines if line["step"] <= step)
            found[f"{SECONDS} @{step}"] = round(seconds, 1)
            found[f"{MEASURED} @{step}"] = round(pixel_distance(samples.read()[0], heldout.images), 2)
    return found


def averages(runner: StageRunner, made: RecipeResult) -> dict[str, float]:
    """`distance of <name>` by samples of each average in the bank, and of the raw weights; nothing without a bank."""
    heldout, found = real_digits(reference_store(made.features), "val"), {}
    bank = runner.recipe.generator.ema_bank
    for name in (*bank, RAW) if bank else ():
        samples = runner.do(SAMPLE, made.models, config=replace(runner.recipe.sample, weights=name))
        assert samples is not None
        found[f"{MEASURED} of {name}"] = round(pixel_distance(samples.read()[0], heldout.images), 2)
    return found


def run_variants(root: Path, only: Sequence[str], every: int) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    """A record for each variant, and the first variant of each autoencoder by its folder."""
    settings = {"generator.save_every": str(every), "generator.keep_every": str(every)} if every else {}
    recipe = override(load_recipe("digits-2026"), {"runtime.executor": "local", "runtime.threads": "1", **settings})
    floors: dict[Path, float] = {}
    records, autoencoders = [], {}
    for variant in variants_of(replace(recipe, eval=EvalConfig())):
        if only and variant.name not in only:
            continue
        runner = StageRunner(root, variant.recipe, Output(json=True))
        made = run_workflow(runner)
        assert made is not None
        path, training = made.autoencoder.path, made.models.generator.record
        if path not in floors:
            floors[path], autoencoders[variant.name] = rebuilt_distance(made), path
        seconds = processor_seconds(made.models.generator.path / METRICS_FILE)
        metrics = {
            SECONDS: None if seconds is None else round(seconds, 1),
            "velocity_mse": round(training.metrics["val_velocity_mse"], 4),
            "floor": round(floors[path], 2),
            **judge(made, floors[path]),
            **averages(runner, made),
            **(curve(runner, made) if every else {}),
        }
        records.append({"variant": variant.name, "values": variant.values, "metrics": metrics})
        print(json.dumps(records[-1]), flush=True)
    return records, autoencoders


def points_of(metrics: Mapping[str, float]) -> list[tuple[float, float]]:
    """(processor seconds, distance) at the kept steps that metrics have, and at the last one."""
    steps = sorted(int(name.partition(" @")[2]) for name in metrics if name.startswith(f"{MEASURED} @"))
    of_steps = [(metrics[f"{SECONDS} @{step}"], metrics[f"{MEASURED} @{step}"]) for step in steps]
    return [*of_steps, (metrics[SECONDS], metrics[MEASURED])]


def seconds_to(points: Sequence[tuple[float, float]], distance: float) -> float | None:
    """Processor seconds until a distance is reached, linear between two points; None where it is not."""
    if points[0][1] <= distance:
        return points[0][0]
    for (start, before), (end, after) in pairwise(points):
        if after <= distance:
            return start + (end - start) * (before - distance) / (before - after)
    return None


def shares(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """After what share of the first variant's seconds each one with a curve has its last distance; means over seeds."""
    means = metrics_of(records)
    groups = {
        str({key: value for key, value in one["values"].items() if ".seed" not in key}): one for one in records[::-1]
    }
    found = {one["variant"]: points_of(means[one["variant"]]) for one in list(groups.values())[::-1]}
    found = {name: points for name, points in found.items() if len(points) > 1}
    if not found:
        return []
    seconds, distance = next(iter(found.values()))[-1]
    reached = {name: seconds_to(points, distance) for name, points in found.items()}
    return [
        {
            "variant": name,
            "distance": round(distance, 2),
            "share of seconds": None if one is None else round(one / seconds, 2),
        }
        for name, one in reached.items()
    ]


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


def common(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that every variant has: those of the main average at the last step."""
    return {name: value for name, value in metrics.items() if " @" not in name and " of " not in name}


def markdown(records: Sequence[dict[str, Any]], compared: Sequence[dict[str, Any]]) -> str:
    """All tables."""
    rows = [{"variant": one["variant"], **common(one["metrics"])} for one in records]
    parts = [f"Machine: {machine_facts()}."]
    if seeds := markdown_table(replicated_table(records)):
        parts += ["## Over seeds", seeds]
    if reached := markdown_table(shares(records)):
        parts += ["## Seconds to the first one's last distance", reached]
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
@click.option("--every", default=0, help="Steps between two checkpoints whose samples are judged; 0 = none.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the records as JSON.")
@click.option("--markdown", "table", type=click.Path(path_type=Path), help="Write the tables as Markdown.")
def main(root: Path, only: str, every: int, out: Path | None, table: Path | None) -> None:
    """Print a JSON line for each variant, then write what was asked for."""
    use_threads(1)
    records, autoencoders = run_variants(root, [name for name in only.split(",") if name], every)
    compared = side_by_side(root, records, autoencoders) if len(autoencoders) > 1 else []
    if out is not None:
        content = {"machine": machine_facts(), "variants": records, "autoencoders": compared}
        out.write_text(json.dumps(content | {"ranks": predictor_ranks(compared, MEASURED)}, indent=1, default=str))
    if table is not None:
        table.write_text(markdown(records, compared))


if __name__ == "__main__":
    main()
