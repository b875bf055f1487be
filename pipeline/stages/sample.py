"""A generator's samples as images: a few in this process, or many in a store that workers fill."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.config import SampleConfig, Size, height_width, with_protocol
from jobs.remote import fetch_checkpoints
from jobs.runs import Models
from jobs.sampling import HELD_OUT
from pipeline.artifacts import State, find_run
from pipeline.config import Recipe
from pipeline.stages.base import Job, PlanInputs, Stage, StageContext, Work
from stores.backends import is_url

if TYPE_CHECKING:
    from pipeline.artifacts import SampleFolder, SampleSet


class Sample(Stage["SampleFolder | SampleSet"]):
    """Generator, autoencoder and pixel decoder → images."""

    name = "sample"

    def check(self, root: Path, recipe: Recipe) -> None:
        """Guidance and the file of prompts."""
        from fae.sampling import parse_guidance

        config = recipe.sample
        parse_guidance(config.guidance_interval, config.guidance_scale)
        parse_guidance(config.internal_guidance_interval, config.internal_guidance_scale)
        if config.prompts not in (None, HELD_OUT) and not Path(str(config.prompts)).is_file():
            raise FileNotFoundError(
                f"sample.prompts: expected a file of prompts, or the word {HELD_OUT}; received {config.prompts!r}, "
                "which is not there"
            )

    def inputs(self, root: Path, recipe: Recipe, results: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The models, as soon as there is a generator and something that decodes its latents to pixels."""
        models = models_of(root, recipe, results)
        return None if models is None else (models,)

    def job(
        self, context: StageContext, models: Models, checkpoint: int | None = None, config: SampleConfig | None = None
    ) -> "Job[SampleFolder | SampleSet]":
        """Make the recipe's samples.

        Args:
            context: Where and how.
            models: The generator and those that decode its latents.
            checkpoint: Sample the generator as it was after so many steps; these samples always lie below the root.
            config: Settings other than the recipe's.
        """
        from jobs.executors import compiles, pick_device
        from jobs.sampling import check_size_condition, guidance_notes, with_fitting_guidance, with_fitting_size

        config = with_protocol(config or context.recipe.sample)
        if checkpoint is not None:
            config = replace(config, checkpoint=checkpoint, out=None)
        asked, config = config, with_fitting_guidance(config, models)
        if config != asked:
            context.output.say(f"{self.name}: {models.generator.path.name} is unconditional: guidance is off (1)")
        check_size_condition(config, models.generator)
        config = with_fitting_size(config, models)
        if compiles(config.compile, pick_device(context.recipe.runtime.device).type):
            context.output.say(f"{self.name}: blocks of the models are compiled (--compile off to leave it out)")
        if config.checkpoint is not None or config.weights != SampleConfig.weights:
            fetch_checkpoints(models.generator.path, every=True)
        for note in guidance_notes(config, models.generator, models.guide_model is not None):
            context.output.say(f"{self.name}: {note}")
        return (
            self._many(context, models, config) if config.format or config.out else self._few(context, models, config)
        )

    def _many(self, context: StageContext, models: Models, config: SampleConfig) -> "Job[SampleFolder | SampleSet]":
        from pipeline.artifacts import locate_set, make_set

        runtime = context.recipe.runtime
        made = locate_set(context.root, context.stores, context.recipe.name, models, config, runtime)
        return Job(
            [made],
            lambda report: [make_set(made, models, config, runtime, report)],
            lambda artifact: artifact,
            folders=[] if is_url(made.writer.url) else [made.writer.path],
            planned=made,
        )

    def _few(self, context: StageContext, models: Models, config: SampleConfig) -> "Job[SampleFolder | SampleSet]":
        from pipeline.artifacts import locate_samples, make_samples

        runtime = context.recipe.runtime
        folder = locate_samples(context.root, context.recipe.name, models, config)
        if folder.state is State.COMPLETE and not context.dry_run:
            folder.draw_grid(config.columns)
        return Job(
            [folder],
            lambda report: [make_samples(folder, models, config, runtime, report)],
            lambda artifact: artifact,
            planned=folder,
        )

    def metrics(self, result: "SampleFolder | SampleSet", made: bool) -> dict[str, Any]:
        """Of a store of samples that was made just now."""
        return result.metrics() if made else {}

    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """The generator's evaluations and both decoders for each image."""
        flops = plan.flops
        one = plan.function_evaluations * flops["generator"] + flops["decode"] + flops["pixel decoder"]
        config = with_protocol(recipe.sample)
        trained, made = (pixels(size) for size in (recipe.extract.image_size, config.size or recipe.extract.image_size))
        return Work(config.num * one * made / trained, 0.0, config.num * float(made * 3))


def pixels(size: Size) -> int:
    """Of an image."""
    height, width = height_width(size)
    return height * width


def check_conditions(models: Models, config: SampleConfig) -> None:
    """Refuse classes or prompts that the generator does not know, before its weights are loaded.

    Raises:
        ValueError: It does not know them.
    """
    from jobs.sampling import plan_samples

    if config.prompts != HELD_OUT:  # these are read from a store, with torch
        plan_samples(config, models)


def models_of(root: Path, recipe: Recipe, results: Mapping[str, Any]) -> Models | None:
    """The models that sampling needs, out of the results of a recipe's stages; None when one is missing."""
    generator, autoencoder, decoder = (results.get(kind) for kind in ("generators", "autoencoders", "decoders"))
    if generator is None or autoencoder is None or (decoder is None and not autoencoder.decodes_to_pixels):
        return None
    guide = recipe.sample.autoguidance
    guide_model = find_run(root, "generators", guide) if guide else None
    return Models(generator, autoencoder, decoder, results["latents"].attributes.get("class_names"), guide_model)
