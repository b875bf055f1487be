"""Features to a feature autoencoder."""

from functools import partial

from jobs.config import TRAINING_PASSES
from jobs.runs import RunFolder
from pipeline.config import Recipe
from pipeline.stages.base import Job, PlanInputs, RunStage, StageContext, Work
from pipeline.stages.on_miss import OnMiss, opened
from stores import AnyStore


class TrainAutoencoder(RunStage):
    """Feature store → autoencoder."""

    name = "train-ae"

    def job(self, context: StageContext, data: AnyStore | OnMiss) -> Job[RunFolder]:
        """Train on the features alone."""
        from jobs.loop import start_notes, training_notes
        from jobs.train import (
            autoencoder_ingredients,
            autoencoder_notes,
            fresh_autoencoder,
            train_autoencoder,
        )

        root, recipe, name = context.root, context.recipe, context.recipe.name
        features = opened(self, context, data)
        config = self.settled(context, recipe.autoencoder, features)
        where = (root, self.spec.makes, name, autoencoder_ingredients(features, config))
        artifact = self.artifact(context, *where[2:], config)
        features = self.awaited(context, artifact, features, config.batch_rows)

        def notes() -> list[str]:
            build = partial(fresh_autoencoder, features, config)
            return [
                *autoencoder_notes(config),
                *training_notes(recipe.autoencoder, features, recipe.runtime),
                *start_notes(*where, config, build),
            ]

        self.say_notes(context, artifact, notes)
        train = partial(train_autoencoder, root, name, features, config, recipe.runtime)
        return self.training(context, [artifact], train)

    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """Every batch is read from storage."""
        rows = recipe.autoencoder.steps * recipe.autoencoder.batch_rows
        return Work(rows * TRAINING_PASSES * plan.flops["whole"], rows * plan.row_bytes["features"])
