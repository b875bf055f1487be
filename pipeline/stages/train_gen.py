"""Latents to a generator."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jobs.config import TRAINING_PASSES
from jobs.runs import RunFolder
from pipeline.config import TEXT_STAGE, Recipe
from pipeline.stages.base import Job, PlanInputs, RunStage, StageContext, Work
from pipeline.stages.extract_text import TEXT_ARRAYS
from pipeline.stages.on_miss import OnMiss, opened
from stores import AnyStore


class TrainGenerator(RunStage):
    """Latent store (and text store of its captions) → generator."""

    name = "train-gen"

    def inputs(self, root: Path, recipe: Recipe, results: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Latents, and the text store where the recipe's generator takes captions."""
        latents, text = results.get("latents"), results.get("text")
        return None if latents is None or (TEXT_STAGE in recipe.stages and text is None) else (latents, text)

    def job(self, context: StageContext, data: AnyStore | OnMiss, text: AnyStore | None = None) -> Job[RunFolder]:
        """Train on latents with their classes or captions alone."""
        from jobs.loop import start_notes, training_notes
        from jobs.train import (
            condition_notes,
            fresh_model,
            generator_ingredients,
            method_notes,
            train_generator,
            with_condition,
        )

        root, recipe, name = context.root, context.recipe, context.recipe.name
        latents = opened(self, context, data)
        config = self.settled(context, recipe.generator, latents)
        where = (root, self.spec.makes, name, generator_ingredients(latents, config, text))
        artifact = self.artifact(context, *where[2:], config)
        latents = self.awaited(context, artifact, latents, config.batch_rows)
        for note in [*condition_notes(latents, config), *method_notes(config)]:
            context.output.say(f"{self.name}: {note}")

        def notes() -> list[str]:
            build = partial(fresh_model, latents, with_condition(latents, config), text)
            return [
                *training_notes(recipe.generator, latents, recipe.runtime),
                *start_notes(*where, config, build),
            ]

        self.say_notes(context, artifact, notes)
        train = partial(train_generator, root, name, latents, config, recipe.runtime, text=text)
        return self.training(context, [artifact], train)

    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """Every batch is read from storage, with each latent a caption where the generator takes captions.

        A generator that is aligned reads the features beside.
        """
        rows = recipe.generator.steps * recipe.generator.batch_rows
        aligned = ("features",) if recipe.generator.alignment != "none" else ()
        arrays = ("latents", *TEXT_ARRAYS, *aligned)
        row_bytes = sum(plan.row_bytes.get(array, 0) for array in arrays)
        return Work(rows * TRAINING_PASSES * plan.flops["generator"], rows * row_bytes)
