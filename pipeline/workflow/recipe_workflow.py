"""A whole recipe: every stage in order, each doing only what is out of date."""

from dataclasses import dataclass
from typing import Any

from jobs.runs import Models, RunFolder
from pipeline.artifacts import SampleFolder, SampleSet, decode_previews
from pipeline.config import RecipeError
from pipeline.stages import SAMPLE, STAGES, models_of
from pipeline.workflow.run_metrics import evaluate_checkpoints, evaluated_checkpoints, measure_result
from pipeline.workflow.stage_runner import StageRunner
from stores import AnyStore


@dataclass(frozen=True)
class RecipeResult:
    """What a recipe's stages made; no pixel decoder where the autoencoder decodes to pixels."""

    features: AnyStore
    autoencoder: RunFolder
    decoder: RunFolder | None
    latents: AnyStore
    models: Models
    samples: SampleFolder | SampleSet


def run_workflow(runner: StageRunner) -> RecipeResult | None:
    """Run what is out of date, up to the recipe's last stage; samples are evaluated where the recipe has a reference.

    Returns:
        None when it ends before `sample`: there, or in a dry run at the first stage whose result is not there.

    Raises:
        RecipeError: The last stage is none of the recipe's.
    """
    recipe = runner.recipe
    if recipe.until not in recipe.stages:
        raise RecipeError(
            f"until: {recipe.until}: expected a stage of this recipe ({', '.join(recipe.stages)}); its generator "
            "takes classes; set generator.condition to text for one that takes captions"
        )
    evaluated_checkpoints(recipe)  # refused before any work
    wanted = recipe.stages[: recipe.stages.index(recipe.until) + 1]
    results: dict[str, Any] = {}
    for stage in STAGES:
        inputs = stage.inputs(runner.root, recipe, results) if stage.name in wanted else None
        if inputs is None:
            continue
        if stage is SAMPLE:
            evaluate_checkpoints(runner, inputs[0], results["features"])
        results[stage.spec.makes] = runner.do(stage, *inputs)
        measure_result(runner, stage, results)
    models = models_of(runner.root, recipe, results)
    if models is None or "samples" not in results:
        _say_rest(runner, wanted)
        return None
    if not runner.dry_run:
        decode_previews(models, recipe.runtime)
    features, latents, samples = (results[kind] for kind in ("features", "latents", "samples"))
    return RecipeResult(features, models.autoencoder, models.decoder, latents, models, samples)


def _say_rest(runner: StageRunner, wanted: tuple[str, ...]) -> None:
    """In a dry run: the stages whose inputs are not there yet."""
    begun = {outcome.stage for outcome in runner.outcomes}
    rest = [stage for stage in wanted if stage not in begun]
    if rest and runner.dry_run:
        runner.output.say(f"then: {', '.join(rest)}")
