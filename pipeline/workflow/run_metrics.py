"""What a run measures of its own results: samples, rebuilt images, and what an autoencoder preserves."""

import time
from dataclasses import replace
from pathlib import Path

from jobs.executors import use_threads
from jobs.runs import RunFolder
from pipeline.config import Recipe, RecipeError
from pipeline.evaluation import FILE, RUN, ProbeInputs, evaluate, finished_probe, probe, probe_metrics
from pipeline.workflow.stage_runner import Outcome
from pipeline.workflow.stages import Stages
from stores import Store


def evaluate_images(stages: Stages, location: Path, features: Store, what: str = "") -> None:
    """Samples → metrics beside the recipe's reference; one of the recipe's name is this feature store.

    Of an autoencoder's run, what it rebuilds beside the originals. `what` stands behind the metrics' names.
    """
    config, recipe = stages.recipe.eval, stages.recipe
    if stages.dry_run:
        # Whether it is there is known only once images and networks were read.
        stages.output.say(f"eval: would be made if it is not there: {location / FILE}")
        return
    if (location / RUN).is_file():
        config = replace(config, reference=None)
    elif config.reference == recipe.name:
        config = replace(config, reference=str(features.path))
    record = evaluate(stages.root, str(location), config, recipe.runtime, stages.output, stages.watch.watchers())
    # Those of fewer images (`FD-Lite0 at 100`) lead to the limit and say little by themselves.
    found = [metric for metric in record["metrics"] if " at " not in metric["metric"]]
    metrics = {metric["metric"] + what: metric["value"] for metric in found}
    seconds = 0.0 if record["up_to_date"] else record["seconds"]
    stages.outcomes.append(
        Outcome("eval", Path(record["file"]), record["up_to_date"], seconds=seconds, metrics=metrics)
    )


def probe_autoencoder(stages: Stages, features: Store, autoencoder: RunFolder) -> None:
    """What latents and rebuilt features still tell, as `fae-pipe probe` finds it, beside the autoencoder."""
    inputs, config, runtime = ProbeInputs(features, autoencoder), stages.recipe.probe, stages.recipe.runtime
    folder = autoencoder.path / "probe"
    record = finished_probe(folder, inputs.ingredients(config, runtime.device))
    outcome = Outcome("probe", folder, record is not None)
    if record is None and not stages.dry_run:
        started, watchers = time.perf_counter(), stages.watch.watchers()
        use_threads(runtime.threads)
        record = probe(
            *(inputs, config, runtime.device, folder),
            lambda stage, unit: stages.output.progress(stage, unit, watchers=watchers),
        )
        outcome.seconds = time.perf_counter() - started
    outcome.metrics = probe_metrics(record) if record else {}
    stages.note(outcome)


def evaluated_checkpoints(recipe: Recipe) -> list[int]:
    """The steps of `eval.checkpoints`.

    Raises:
        RecipeError: no numbers, steps that the training does not keep, or no reference to compare with.
    """
    text, generator = recipe.eval.checkpoints, recipe.generator
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
