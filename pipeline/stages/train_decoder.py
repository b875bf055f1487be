"""Features with images to a pixel decoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.runs import RunFolder
from pipeline.artifacts import RunArtifact
from pipeline.config import Recipe
from pipeline.stages.base import TRAINING_PASSES, Job, PlanInputs, RunStage, StageContext, Work
from stores import Store


class TrainDecoder(RunStage):
    """Feature store (and autoencoder) → pixel decoder."""

    name = "train-decoder"

    def inputs(self, root: Path, recipe: Recipe, results: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """None for an autoencoder that decodes to pixels itself."""
        found = super().inputs(root, recipe, results)
        return None if found is None or found[1].decodes_to_pixels else found

    def job(self, context: StageContext, features: Store, autoencoder: RunFolder | None) -> Job[RunFolder]:
        """Train on noised features first, then on those that the autoencoder rebuilt: a run each."""
        from jobs.train import decoder_stages, train_decoder

        root, recipe = context.root, context.recipe
        config, name, runtime = recipe.decoder, recipe.name, recipe.runtime
        runs = [
            RunArtifact(root, self.spec.makes, *one)
            for one in decoder_stages(root, name, features, autoencoder, config)
        ]
        return Job(
            runs[-1:],
            lambda report: [train_decoder(root, name, features, autoencoder, config, runtime, report)],
            RunArtifact.open,
            folders=[run.path for run in runs],
        )

    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """Every batch is read from storage; tuning runs the autoencoder as well."""
        decoder, row_bytes = recipe.decoder, plan.row_bytes["features"] + plan.row_bytes.get("pixels", 0)
        noised, tuned = decoder.steps * decoder.batch_size, decoder.finetune_steps * decoder.batch_size
        training = TRAINING_PASSES * plan.flops["pixel decoder"]
        return Work(noised * training + tuned * (training + plan.flops["whole"]), (noised + tuned) * row_bytes)
