"""Features to a feature autoencoder."""

from jobs.runs import RunFolder
from pipeline.artifacts import RunArtifact
from pipeline.config import Recipe
from pipeline.stages.base import TRAINING_PASSES, Job, PlanInputs, RunStage, StageContext, Work
from stores import Store


class TrainAutoencoder(RunStage):
    """Feature store → autoencoder."""

    name = "train-ae"

    def job(self, context: StageContext, features: Store) -> Job[RunFolder]:
        """Train on the features alone."""
        from jobs.train import autoencoder_ingredients, autoencoder_notes, train_autoencoder

        root, recipe = context.root, context.recipe
        config, name = recipe.autoencoder, recipe.name
        for note in autoencoder_notes(config):
            context.output.say(f"{self.name}: {note}")
        artifact = RunArtifact(root, self.spec.makes, name, autoencoder_ingredients(features, config))
        return Job(
            [artifact],
            lambda report: [train_autoencoder(root, name, features, config, recipe.runtime, report)],
            RunArtifact.open,
        )

    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """Every batch is read from storage."""
        rows = recipe.autoencoder.steps * recipe.autoencoder.batch_size
        return Work(rows * TRAINING_PASSES * plan.flops["whole"], rows * plan.row_bytes["features"])
