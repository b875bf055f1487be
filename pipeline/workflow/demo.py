"""The demo: a whole recipe, on digits or on one's own images, then what independent judges say of its images."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fae.grids import paired_grid
from fae.images import save_png
from fae.models import PixelDecoder
from jobs.config import RuntimeConfig
from jobs.executors import pick_device
from jobs.runs import load_model
from jobs.train import rebuilder, reconstruct
from pipeline.artifacts import DigitSet, RecordArtifact, SampleFolder, as_record, measure_digits
from pipeline.config import Recipe
from pipeline.console import Output, Watch, format_seconds, machine_facts, root_words
from pipeline.report import ReportOptions, write_report
from pipeline.stages import SAMPLE
from pipeline.workflow.demo_recipes import demo_recipe
from pipeline.workflow.demo_words import digit_rows, end_lines, photo_rows
from pipeline.workflow.recipe_workflow import RecipeResult, run_workflow
from pipeline.workflow.stage_runner import StageRunner
from stores import Store
from stores.backends import Location, replace_file
from stores.core import reference_store

GRID_ROWS = 40
METRICS_FILE, RECONSTRUCTIONS_FILE, REPORT_FILE = "metrics.json", "reconstructions.png", "report.html"
DECODER_METRICS = ("psnr_db", "seam_ratio")


@dataclass(frozen=True)
class Demo:
    """What a demo runs and how it is judged.

    Attributes:
        recipe: All stages and their settings.
        folder: Name of the folder of metrics, reconstructions and report, below the root.
        judge: (folder, runner, what the recipe made) → metrics.
        rows: The metrics with their meaning, as rows of a table.
    """

    recipe: Recipe
    folder: str
    judge: Callable[[Path, StageRunner, RecipeResult], dict[str, Any]]
    rows: Callable[[dict[str, Any]], list[dict[str, str]]]


def make_demo(model: str, images: str | None = None) -> Demo:
    """The demo on handwritten digits with this family of generators, or on a person's own images."""
    recipe, folder = demo_recipe(model, images)
    if images is None:
        return Demo(recipe, folder, digit_metrics, digit_rows)
    return Demo(recipe, folder, photo_metrics, photo_rows)


def run_demo(
    root: Path, output: Output, demo: Demo, runtime: RuntimeConfig, watch: Watch, stores: Location | None = None
) -> None:
    """Run every stage of the demo's recipe that is out of date, judge the result (once), print paths and metrics.

    `stores` is the folder or URL of the stores, `root` when absent.
    """
    started = time.perf_counter()
    runner = StageRunner(root, replace(demo.recipe, runtime=runtime), output, watch=watch, stores=stores)
    made = run_workflow(runner)
    assert made is not None
    folder = root / demo.folder
    metrics = demo.judge(folder, runner, made)
    took = {"metric": "time", "value": format_seconds(time.perf_counter() - started), "meaning": machine_facts()}
    options = ReportOptions(judged=(*demo.rows(metrics), took))
    page = reported(folder / REPORT_FILE, root, made, options, runtime, output, renew=not _up_to_date(runner))
    files = {"report": page, "samples": made.samples.grid, "reconstructions": folder / RECONSTRUCTIONS_FILE}
    seconds = 0.0 if _up_to_date(runner) else time.perf_counter() - started
    output.table(demo.rows(metrics))
    for line in end_lines(files, seconds, machine_facts(), _next_commands(stores or root, demo.recipe)):
        output.say(line)
    output.result(
        {
            "stages": [outcome.as_record() for outcome in runner.outcomes],
            "grid": made.samples.grid,
            "reconstructions": folder / RECONSTRUCTIONS_FILE,
            "report": page,
            "metrics": metrics,
            "seconds": round(seconds, 1),
        }
    )


def _next_commands(root: Location, recipe: Recipe) -> dict[str, str]:
    """What to try after the demo."""
    where = root_words(root)
    return {
        "more samples": f"fae-pipe sample --name {recipe.name} --num 20 --guidance-scale 3{where}",
        "look closer": f"fae-pipe view {recipe.name}{where}",
        "your images": "fae-pipe demo --images FOLDER for a look, fae-pipe init FOLDER for a recipe of their own",
    }


def digit_metrics(folder: Path, runner: StageRunner, made: RecipeResult) -> dict[str, Any]:
    """What classifiers say of the recipe's samples, of as many without guidance, and of rebuilt digits."""
    config = runner.recipe.sample
    guided = made.samples
    unguided = runner.do(SAMPLE, made.models, config=replace(config, guidance_scale=1.0, seed=config.seed + config.num))
    assert isinstance(guided, SampleFolder)
    assert isinstance(unguided, SampleFolder)
    assert made.decoder is not None
    features = reference_store(made.features)
    ingredients = {"guided": guided.path.name, "unguided": unguided.path.name, "decoder": made.decoder.weights_sha256}

    def measure(rebuilt: np.ndarray) -> dict[str, Any]:
        train, heldout = (_half(features, split) for split in ("train", "val"))
        images = (DigitSet(*guided.read()), DigitSet(*unguided.read()), DigitSet(rebuilt, heldout.labels))
        return as_record(measure_digits(train, heldout, *images))

    return _saved(folder, made, ingredients, measure)


def photo_metrics(folder: Path, runner: StageRunner, made: RecipeResult) -> dict[str, Any]:
    """What the recipe's evaluation says of its samples, and how close rebuilt images are to their originals."""
    assert made.decoder is not None
    evaluated = [outcome for outcome in runner.outcomes if outcome.stage == "eval"]
    ingredients = {"samples": made.samples.path.name, "decoder": made.decoder.weights_sha256}
    return _saved(folder, made, ingredients, lambda _: dict(evaluated[-1].metrics))


def _saved(
    folder: Path,
    made: RecipeResult,
    ingredients: dict[str, Any],
    measure: Callable[[np.ndarray], dict[str, Any]],
) -> dict[str, Any]:
    """The metrics of these very images: read from metrics.json, or measured and written there.

    `measure` gets the rebuilt held-out images, which are shown below their originals in a grid.
    """
    artifact = RecordArtifact(folder / METRICS_FILE, ingredients)
    if (saved := artifact.record()) is not None:
        found: dict[str, Any] = saved["metrics"]
        return found
    assert made.decoder is not None
    features, device = reference_store(made.features), pick_device("auto")
    rows = features.rows("val")
    rows = rows if len(rows) else features.rows("train")
    decoder = load_model(PixelDecoder, made.decoder.model_path, device)
    originals, rebuilt = reconstruct(decoder, features, rows, rebuilder(made.autoencoder, device), device)
    shown = paired_grid(originals[:GRID_ROWS], rebuilt[:GRID_ROWS], GRID_ROWS // 2)
    save_png(shown, folder / RECONSTRUCTIONS_FILE)
    of_decoder = made.decoder.record.metrics
    metrics = measure(rebuilt) | {name: of_decoder[name] for name in DECODER_METRICS if name in of_decoder}
    record = {
        "fingerprint": artifact.fingerprint,
        "ingredients": ingredients,
        "metrics": metrics,
        "figures": [RECONSTRUCTIONS_FILE],
    }
    replace_file(artifact.file, json.dumps(record, indent=1).encode())
    return metrics


def reported(
    file: Path,
    root: Path,
    made: RecipeResult,
    options: ReportOptions,
    runtime: RuntimeConfig,
    output: Output,
    renew: bool,
) -> Path:
    """The report on the demo's generator; written when it is not there, or anything was made anew."""
    if renew or not file.exists():
        write_report(root, [str(made.models.generator.path)], file, options, runtime, output.say)
    return file


def _up_to_date(runner: StageRunner) -> bool:
    return all(outcome.up_to_date for outcome in runner.outcomes)


def _half(features: Store, split: str) -> DigitSet:
    rows = features.rows(split)
    return DigitSet(features.read("pixels", rows), features.labels[rows])
