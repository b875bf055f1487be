"""A whole recipe: every stage in order, each doing only what is out of date."""

from dataclasses import dataclass

from jobs.runs import Models, RunFolder
from pipeline.artifacts import SampleFolder, SampleSet, decode_previews, find_run
from pipeline.config import EXTRACT_TEXT, STAGES, RecipeError
from pipeline.workflow.run_metrics import evaluate_images, evaluated_checkpoints, probe_autoencoder
from pipeline.workflow.stages import Stages
from stores import Store


@dataclass(frozen=True)
class RecipeResult:
    """What a recipe's stages made; no pixel decoder where the autoencoder decodes to pixels."""

    features: Store
    autoencoder: RunFolder
    decoder: RunFolder | None
    latents: Store
    models: Models
    samples: SampleFolder | SampleSet


def run_workflow(stages: Stages) -> RecipeResult | None:
    """Run what is out of date, up to the recipe's last stage; samples are evaluated where the recipe has a reference.

    Returns None when it ends before `sample`: there, or in a dry run at the first stage whose result is not there.

    Raises:
        RecipeError: the last stage is none of the recipe's.
    """
    recipe = stages.recipe
    if recipe.until not in recipe.stages:
        raise RecipeError(
            f"until: {recipe.until}: expected a stage of this recipe ({', '.join(recipe.stages)}); its generator "
            "takes classes; set generator.condition to text for one that takes captions"
        )
    checkpoints = evaluated_checkpoints(recipe)
    models = _models(stages)
    if models is None or not _wanted(stages, "sample"):
        if stages.dry_run:
            _say_rest(stages)
        return None
    features, latents, trained = models
    for step in checkpoints:
        evaluate_images(stages, stages.sample(trained, step).path, features, f" @{step}")
    samples = stages.sample(trained)
    if stages.recipe.eval.reference is not None:
        evaluate_images(stages, samples.path, features)
    if not stages.dry_run:
        decode_previews(trained, stages.recipe.runtime)
    return RecipeResult(features, trained.autoencoder, trained.decoder, latents, trained, samples)


def _models(stages: Stages) -> tuple[Store, Store, Models] | None:
    features = stages.extract()
    autoencoder = stages.train_ae(features) if features and _wanted(stages, "train-ae") else None
    if features is None or autoencoder is None:
        return None
    if stages.recipe.probe.in_run and not autoencoder.decodes_to_pixels:
        probe_autoencoder(stages, features, autoencoder)
    decoder = None
    if not autoencoder.decodes_to_pixels and _wanted(stages, "train-decoder"):
        decoder = stages.train_decoder(features, autoencoder)
    paintable = autoencoder.decodes_to_pixels or decoder is not None
    if stages.recipe.eval.rebuilt and paintable:
        evaluate_images(stages, autoencoder.path, features, " rebuilt")
    latents = stages.encode(features, autoencoder) if _wanted(stages, "encode") else None
    generator = _generator(stages, features, latents) if latents else None
    if not paintable or latents is None or generator is None:
        return None
    autoguidance = stages.recipe.sample.autoguidance
    guide_model = find_run(stages.root, "generators", autoguidance) if autoguidance else None
    return (
        features,
        latents,
        Models(generator, autoencoder, decoder, latents.attributes.get("class_names"), guide_model),
    )


def _generator(stages: Stages, features: Store, latents: Store) -> RunFolder | None:
    """Trained on latents, and on their captions where the recipe's generator takes captions."""
    tells_captions = EXTRACT_TEXT in stages.recipe.stages
    text = stages.extract_text(features) if tells_captions and _wanted(stages, EXTRACT_TEXT) else None
    if not _wanted(stages, "train-gen") or (tells_captions and text is None):
        return None
    return stages.train_gen(latents, text)


def _wanted(stages: Stages, stage: str) -> bool:
    return STAGES.index(stage) <= STAGES.index(stages.recipe.until)


def _say_rest(stages: Stages) -> None:
    begun = {outcome.stage for outcome in stages.outcomes}
    left = [stage for stage in stages.recipe.stages if stage not in begun and _wanted(stages, stage)]
    if left:
        stages.output.say(f"then: {', '.join(left)}")
