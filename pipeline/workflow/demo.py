"""The demo: the digits recipe, then what independent classifiers say of its images."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fae.grids import paired_grid
from fae.images import save_png
from fae.models import PixelDecoder
from jobs.config import RuntimeConfig
from jobs.executors import pick_device
from jobs.runs import load_model
from jobs.train import rebuilder, reconstruct
from pipeline.artifacts import DigitSet, RecordArtifact, SampleFolder, as_record, measure_digits
from pipeline.config import load_recipe
from pipeline.console import Output, Watch
from pipeline.report import ReportOptions, write_report
from pipeline.stages import SAMPLE
from pipeline.workflow.recipe_workflow import RecipeResult, run_workflow
from pipeline.workflow.stage_runner import StageRunner
from stores import Store
from stores.backends import replace_file

SAMPLES = 500
# Family of generators -> its recipe, and the folder of the demo's metrics.
DEMOS = {"lightning-dit": ("digits", "demo"), "starflow": ("digits-starflow", "demo-starflow")}
GRID_ROWS = 40
METRICS_FILE, RECONSTRUCTIONS_FILE = "metrics.json", "reconstructions.png"


def run_demo(root: Path, output: Output, model: str, runtime: RuntimeConfig, watch: Watch) -> None:
    """Run every stage of the family's recipe that is out of date, judge the result (once), print paths and metrics."""
    name, folder_name = DEMOS[model]
    recipe = replace(load_recipe(name), runtime=runtime)
    runner = StageRunner(root, recipe, output, watch=watch)
    made = run_workflow(runner)
    assert made is not None
    config = replace(recipe.sample, num=SAMPLES, classes=None)
    guided = runner.do(SAMPLE, made.models, config=config)
    unguided = runner.do(SAMPLE, made.models, config=replace(config, guidance_scale=1.0, seed=config.seed + SAMPLES))
    assert isinstance(guided, SampleFolder)
    assert isinstance(unguided, SampleFolder)
    folder = root / folder_name
    metrics = demo_metrics(folder, made, guided, unguided)
    _show(output, made, folder, metrics)
    page = reported(folder / "report.html", root, made, runtime, output, renew=not _up_to_date(runner))
    output.say(f"report:          {page}", "bold")
    output.result(
        {
            "stages": [outcome.as_record() for outcome in runner.outcomes],
            "grid": made.samples.grid,
            "reconstructions": folder / RECONSTRUCTIONS_FILE,
            "report": page,
            "metrics": metrics,
        }
    )


def demo_metrics(folder: Path, made: RecipeResult, guided: SampleFolder, unguided: SampleFolder) -> dict[str, Any]:
    """The metrics of these very images: read from metrics.json, or measured and written there."""
    assert made.decoder is not None
    ingredients = {"guided": guided.path.name, "unguided": unguided.path.name, "decoder": made.decoder.weights_sha256}
    artifact = RecordArtifact(folder / METRICS_FILE, ingredients)
    if (saved := artifact.record()) is not None:
        found: dict[str, Any] = saved["metrics"]
        return found
    train, heldout = (_half(made.features, split) for split in ("train", "val"))
    rows = made.features.rows("val")
    device = pick_device("auto")
    decoder = load_model(PixelDecoder, made.decoder.model_path, device)
    originals, rebuilt = reconstruct(decoder, made.features, rows, rebuilder(made.autoencoder, device), device)
    shown = paired_grid(originals[:GRID_ROWS], rebuilt[:GRID_ROWS], GRID_ROWS // 2)
    save_png(shown, folder / RECONSTRUCTIONS_FILE)
    classifiers = measure_digits(
        train, heldout, DigitSet(*guided.read()), DigitSet(*unguided.read()), DigitSet(rebuilt, heldout.labels)
    )
    metrics = as_record(classifiers)
    record = {
        "fingerprint": artifact.fingerprint,
        "ingredients": ingredients,
        "metrics": metrics,
        "figures": [RECONSTRUCTIONS_FILE],
    }
    replace_file(artifact.file, json.dumps(record, indent=1).encode())
    return metrics


def reported(file: Path, root: Path, made: RecipeResult, runtime: RuntimeConfig, output: Output, renew: bool) -> Path:
    """The report on the demo's generator; written when it is not there, or anything was made anew."""
    if renew or not file.exists():
        write_report(root, [str(made.models.generator.path)], file, ReportOptions(), runtime, output.say)
    return file


def _up_to_date(runner: StageRunner) -> bool:
    return all(outcome.up_to_date for outcome in runner.outcomes)


def _half(features: Store, split: str) -> DigitSet:
    rows = features.rows(split)
    return DigitSet(features.read("pixels", rows), features.labels[rows])


def _show(output: Output, made: RecipeResult, folder: Path, metrics: dict[str, Any]) -> None:
    output.table([{"metric": name.replace("_", " "), "value": value} for name, value in metrics.items()])
    output.say(f"samples:         {made.samples.grid}", "bold")
    output.say(f"reconstructions: {folder / RECONSTRUCTIONS_FILE}", "bold")
    output.say(f"metrics:         {folder / METRICS_FILE}")
