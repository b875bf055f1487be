"""A whole recipe: every stage in order, each doing only what is out of date."""

from dataclasses import dataclass

from jobs.run_folder import RunFolder
from pipeline.lineage import Models, find_run
from pipeline.sampling import SampleFolder, paint_previews
from pipeline.stages import Stages
from stores import Store

STAGES = ("extract", "train-ae", "train-decoder", "encode", "train-gen", "sample")


@dataclass(frozen=True)
class Made:
    """What a recipe's stages made."""

    features: Store
    autoencoder: RunFolder
    decoder: RunFolder
    latents: Store
    models: Models
    samples: SampleFolder


def run_chain(stages: Stages) -> Made | None:
    """Run what is out of date. In a dry run it ends, with None, at the first stage whose result is not there."""
    features = stages.extract()
    autoencoder = stages.train_ae(features) if features else None
    if features is None or autoencoder is None:
        _say_rest(stages)
        return None
    decoder = stages.train_decoder(features, autoencoder)
    latents = stages.encode(features, autoencoder)
    generator = stages.train_gen(latents) if latents else None
    if decoder is None or latents is None or generator is None:
        _say_rest(stages)
        return None
    weak = stages.recipe.sample.autoguidance
    weaker = find_run(stages.root, "generators", weak) if weak else None
    models = Models(generator, autoencoder, decoder, latents.attributes.get("class_names"), weaker)
    samples = stages.sample(models)
    if not stages.dry_run:
        paint_previews(models, stages.recipe.runtime)
    return Made(features, autoencoder, decoder, latents, models, samples)


def _say_rest(stages: Stages) -> None:
    left = [stage for stage in STAGES if stage not in {outcome.stage for outcome in stages.outcomes}]
    if left:
        stages.output.say(f"then: {', '.join(left)}")
