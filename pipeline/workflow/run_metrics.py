"""What a run measures of its own results: samples, rebuilt images, and what an autoencoder preserves."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.executors import use_threads
from jobs.runs import RUN_FILE, Models, RunFolder
from pipeline.config import Recipe, RecipeError
from pipeline.evaluation import (
    EVALUATION_FILE,
    ProbeInputs,
    averages_of,
    distance_name,
    epochs_to,
    evaluate,
    measured_averages,
    probe,
    probe_artifact,
    probe_metrics,
)
from pipeline.stages import SAMPLE, TRAIN_AE, TRAIN_DECODER, Stage
from pipeline.workflow.stage_runner import Outcome, StageRunner
from stores import AnyStore, Store
from stores.core import reference_store


def measure_result(runner: StageRunner, stage: Stage[Any], results: Mapping[str, Any]) -> None:
    """Measure what the recipe wants to know of a stage's result, as soon as it is there."""
    config = runner.recipe.eval
    autoencoder, decoder, samples = (results.get(kind) for kind in ("autoencoders", "decoders", "samples"))
    if autoencoder is None:
        return
    if stage is TRAIN_AE and runner.recipe.probe.in_run and not autoencoder.decodes_to_pixels:
        probe_autoencoder(runner, reference_store(results["features"]), autoencoder)
    rebuilds = decoder is not None if stage is TRAIN_DECODER else stage is TRAIN_AE and autoencoder.decodes_to_pixels
    if config.rebuilt and rebuilds:
        evaluate_images(runner, autoencoder.path, results["features"], " rebuilt")
    if samples is not None and config.reference is not None:
        evaluate_images(runner, samples.path, results["features"])
        note_epochs(runner, results["generators"])


def evaluate_checkpoints(runner: StageRunner, models: Models, features: AnyStore | None) -> None:
    """Samples of the generator at the steps of `eval.checkpoints`, each by all of `eval.averages`, and their metrics.

    Of the last step the average of `sample.weights` is left out, which a recipe's own samples show.
    """
    names, main = evaluated_averages(runner.recipe, models.generator), runner.recipe.sample.weights
    chosen = [(step, name) for step in evaluated_checkpoints(runner.recipe) for name in dict.fromkeys([main, *names])]
    for step, name in [*chosen, *((None, name) for name in names if name != main)]:
        evaluate_average(runner, models, features, step, name)


def evaluate_average(
    runner: StageRunner, models: Models, features: AnyStore | None, step: int | None, name: str
) -> None:
    """Samples of one average of the generator's weights, at the last step when None, and their metrics."""
    config = runner.recipe.sample
    samples = runner.do(SAMPLE, models, checkpoint=step, config=replace(config, weights=name))
    of = "" if name == config.weights else f" of {name}"
    if samples is not None:
        evaluate_images(runner, samples.path, features, of + ("" if step is None else f" @{step}"))


def note_epochs(runner: StageRunner, generator: RunFolder) -> None:
    """EP_FID@k as a metric of the evaluation, where `eval.distance` asks for it and it was reached."""
    asked = runner.recipe.eval.distance
    if asked is None or runner.dry_run:
        return
    found = measured_averages(runner.root, generator)
    name = distance_name(found)
    reached = None if name is None else epochs_to(found, name, asked)
    if reached is None:
        runner.output.say(f"eval: no evaluated checkpoint of {generator.path} has {name or 'a distance'} ≤ {asked:g}")
        return
    metrics = {f"EP_{name}@{asked:g}": reached.epochs}
    runner.output.say(f"eval: {name} ≤ {asked:g} after {reached.epochs:.4g} epochs, by the average {reached.average}")
    runner.outcomes.append(Outcome("eval", generator.path, up_to_date=True, metrics=metrics))


def evaluate_images(runner: StageRunner, location: Path, features: AnyStore | None, what: str = "") -> None:
    """Samples → metrics beside the recipe's reference; one of the recipe's name is the feature store, where given.

    Of an autoencoder's run, what it rebuilds beside the originals. `what` stands behind the metrics' names.
    """
    config, recipe = runner.recipe.eval, runner.recipe
    if runner.dry_run:
        # Whether it is there is known only once images and networks were read.
        runner.output.say(f"eval: would be made if it is not there: {location / EVALUATION_FILE}")
        return
    if (location / RUN_FILE).is_file():
        config = replace(config, reference=None, validation=None)
    elif features is not None:
        own: dict[str, Any] = {
            name: features.url for name in ("reference", "validation") if getattr(config, name) == recipe.name
        }
        config = replace(config, **own)
    record = evaluate(runner.root, str(location), config, recipe.runtime, runner.output, runner.watch.watchers())
    # Those of fewer images (`FD-Lite0 at 100`) lead to the limit and say little by themselves.
    found = [metric for metric in record["metrics"] if " at " not in metric["metric"]]
    metrics = {metric["metric"] + what: metric["value"] for metric in found}
    seconds = 0.0 if record["up_to_date"] else record["seconds"]
    runner.outcomes.append(
        Outcome("eval", Path(record["file"]), record["up_to_date"], seconds=seconds, metrics=metrics)
    )


def probe_autoencoder(runner: StageRunner, features: Store, autoencoder: RunFolder) -> None:
    """What latents and rebuilt features still tell, as `fae-pipe probe` finds it, beside the autoencoder.

    Of a bucket set the store of most rows is probed.
    """
    inputs, config, runtime = ProbeInputs(features, autoencoder), runner.recipe.probe, runner.recipe.runtime
    folder = autoencoder.path / "probe"
    artifact = probe_artifact(folder, inputs, config, runtime.device)
    record = artifact.record()
    outcome = Outcome.of("probe", artifact)
    if record is None and not runner.dry_run:
        started, watchers = time.perf_counter(), runner.watch.watchers()
        use_threads(runtime.threads)
        record = probe(
            *(inputs, config, runtime.device, folder),
            lambda stage, unit: runner.output.progress(stage, unit, watchers=watchers),
        )
        outcome.seconds = time.perf_counter() - started
    outcome.metrics = probe_metrics(record) if record else {}
    runner.note(outcome)


def evaluated_checkpoints(recipe: Recipe) -> list[int]:
    """The steps of `eval.checkpoints`.

    Raises:
        RecipeError: no numbers, steps that the training does not keep, or no reference for these or for averages.
    """
    text, generator = recipe.eval.checkpoints, recipe.generator
    if recipe.eval.averages is not None and recipe.eval.reference is None:
        raise RecipeError("eval.averages: expected eval.reference, the images to compare with; received none")
    if text is None:
        return []
    steps = [int(part) if part.strip().isdigit() else 0 for part in text.split(",")]
    if not all(0 < step < generator.steps for step in steps):
        raise RecipeError(
            f"eval.checkpoints: expected steps below generator.steps = {generator.steps}, such as 100,200; "
            f"received {text!r}"
        )
    lost = [step for step in steps if not generator.keep_every or step % generator.keep_every]
    if lost or generator.keep_every % generator.save_every:
        raise RecipeError(
            f"eval.checkpoints: expected multiples of generator.keep_every = {generator.keep_every}, itself one of "
            f"generator.save_every = {generator.save_every}; received {text!r}"
        )
    if recipe.eval.reference is None:
        raise RecipeError("eval.checkpoints: expected eval.reference, the images to compare with; received none")
    return steps


def evaluated_averages(recipe: Recipe, generator: RunFolder) -> list[str]:
    """The names of `eval.averages`."""
    text = recipe.eval.averages
    if text is None:
        return []
    names = averages_of(generator) if text == "all" else [part.strip() for part in text.split(",")]
    return list(dict.fromkeys(names))
