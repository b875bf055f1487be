"""Features with images to a pixel decoder."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jobs.config import TRAINING_PASSES
from jobs.runs import RunFolder
from pipeline.artifacts import State
from pipeline.config import Recipe
from pipeline.stages.base import Job, PlanInputs, RunStage, StageContext, Work
from stores import AnyStore


class TrainDecoder(RunStage):
    """Feature store (and autoencoder) → pixel decoder."""

    name = "train-decoder"

    def inputs(self, root: Path, recipe: Recipe, results: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """None for an autoencoder that decodes to pixels itself."""
        found = super().inputs(root, recipe, results)
        return None if found is None or found[1].decodes_to_pixels else found

    def job(self, context: StageContext, features: AnyStore, autoencoder: RunFolder | None) -> Job[RunFolder]:
        """Train on noised features first, then on those that the autoencoder rebuilt: a run each."""
        from jobs.loop import start_notes, training_notes
        from jobs.train import build_decoder, decoder_stages, train_decoder, tuning_config

        root, name, runtime = context.root, context.recipe.name, context.recipe.runtime
        config = self.settled(context, context.recipe.decoder, features)
        stages = decoder_stages(root, name, features, autoencoder, config)
        configs = (config, tuning_config(config))
        runs = [self.artifact(context, *stage, one) for stage, one in zip(stages, configs, strict=False)]
        first = next((run for run in runs if run.state is not State.COMPLETE), runs[-1])
        features = self.awaited(context, first, features, config.batch_rows)

        def notes() -> list[str]:
            found = training_notes(context.recipe.decoder, features, runtime)
            for run, one in zip(runs, configs, strict=False):
                if run.state is not State.COMPLETE:
                    where = (root, self.spec.makes, run.name, run.ingredients)
                    found += start_notes(*where, one, partial(build_decoder, features, one))
            return found

        self.say_notes(context, runs[-1], notes)
        train = partial(train_decoder, root, name, features, autoencoder, config, runtime)
        return self.training(context, runs, train)

    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """Every batch is read from storage; tuning runs the autoencoder as well."""
        decoder, row_bytes = recipe.decoder, plan.row_bytes["features"] + plan.row_bytes.get("pixels", 0)
        noised, tuned = decoder.steps * decoder.batch_rows, decoder.finetune_steps * decoder.batch_rows
        training = TRAINING_PASSES * plan.flops["pixel decoder"]
        return Work(noised * training + tuned * (training + plan.flops["whole"]), (noised + tuned) * row_bytes)
