"""The stages as a chain: what each makes of which inputs and settings."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.config import ExtractConfig, SampleConfig
from jobs.runs import Models, RunFolder
from pipeline.artifacts import image_path, scratch_folder
from pipeline.console import data_lines, warning_lines
from pipeline.workflow.stage_runner import Outcome, StageRunner
from stores import Store

if TYPE_CHECKING:
    from jobs.executors import OnProgress
    from pipeline.artifacts import SampleFolder, SampleSet


class Stages(StageRunner):
    """The stages of one recipe under one root folder.

    Each stage imports its own job, so a stage cannot load what is not its business: the frozen encoder is known to
    `extract` alone, the autoencoder not to `train_gen`.
    """

    def extract(self) -> Store | None:
        """Images → feature store."""
        return self.extract_each([self.recipe.extract])[0]

    def extract_each(self, configs: Sequence[ExtractConfig]) -> list[Store | None]:
        """Images → a feature store for each config; these differ in encoder and block, images are decoded once."""
        from jobs.extraction import data_record, plan_features

        recipe, parent, first = self.recipe, self.root / "features", len(self.outcomes)
        with scratch_folder(self.root, self.dry_run) as folder:
            data = image_path(recipe.data, folder)
            with self.output.progress("scan", "images") as scanned:
                plans = plan_features(
                    data, configs, recipe.runtime, folder / "cache", lambda done, total: scanned(done, total, {})
                )
            writers = [plan.writer(parent, recipe.name) for plan in plans]
            record = data_record(plans[0].scanned.summary, data)
            if not all(writer.complete for writer in writers):
                plans = [plan.with_data_record(data) for plan in plans]
                writers = [plan.writer(parent, recipe.name) for plan in plans]
                record = plans[0].attributes["data"]
                for line in [*data_lines(record), *warning_lines(record)]:
                    self.output.say(line)

            def make(report: "OnProgress") -> list[Store]:
                from jobs.extraction import extract

                return extract(writers, plans, data, recipe.runtime, report)

            stores = self.stores("extract", writers, make)
            for outcome in self.outcomes[first:]:
                outcome.data = record
            return stores

    def extract_text(self, source: Store) -> Store | None:
        """Captions of a store's rows → text store in the same order."""
        from jobs.executors import pick_device
        from jobs.extraction import extract_text, plan_text, text_writer

        config, runtime = self.recipe.text, self.recipe.runtime
        with scratch_folder(self.root, self.dry_run) as folder:
            plan = plan_text(
                source.index, config, pick_device(runtime.device), folder / "cache" / "captions", source.url
            )
        writer = text_writer(source, self.root / "text", self.recipe.name, plan, config, runtime)
        if plan.cut:
            self.output.say(f"extract-text: {plan.cut} different captions are cut after {plan.max_tokens} tokens")
        return self.store("extract-text", writer, lambda report: extract_text(writer, plan, config, runtime, report))

    def train_ae(self, features: Store) -> RunFolder | None:
        """Feature store → feature autoencoder."""
        from jobs.train import autoencoder_ingredients, train_autoencoder

        config, runtime = self.recipe.autoencoder, self.recipe.runtime
        ingredients = autoencoder_ingredients(features, config)
        return self.run(
            "train-ae",
            "autoencoders",
            self.recipe.name,
            ingredients,
            lambda report: train_autoencoder(self.root, self.recipe.name, features, config, runtime, report),
        )

    def train_decoder(self, features: Store, autoencoder: RunFolder | None) -> RunFolder | None:
        """Feature store (and autoencoder) → pixel decoder."""
        from jobs.train import decoder_stages, train_decoder

        config, name, runtime = self.recipe.decoder, self.recipe.name, self.recipe.runtime
        planned = decoder_stages(self.root, name, features, autoencoder, config)
        last, ingredients = planned[-1]
        return self.run(
            "train-decoder",
            "decoders",
            last,
            ingredients,
            lambda report: train_decoder(self.root, name, features, autoencoder, config, runtime, report),
            [RunFolder.locate(self.root, "decoders", *one) for one in planned],
        )

    def encode(self, features: Store, autoencoder: RunFolder) -> Store | None:
        """Feature store and autoencoder → latent store."""
        from jobs.extraction import encode, latent_writer

        config, runtime = self.recipe.encode, self.recipe.runtime
        writer = latent_writer(features, autoencoder, self.root / "latents", self.recipe.name, config, runtime)
        return self.store(
            "encode", writer, lambda report: encode(writer, features, autoencoder, config, runtime, report)
        )

    def train_gen(self, latents: Store, text: Store | None = None) -> RunFolder | None:
        """Latent store (and text store of its captions) → generator."""
        from jobs.train import condition_notes, generator_ingredients, train_generator

        config, name, runtime = self.recipe.generator, self.recipe.name, self.recipe.runtime
        for note in condition_notes(latents, config):
            self.output.say(f"train-gen: {note}")
        return self.run(
            "train-gen",
            "generators",
            name,
            generator_ingredients(latents, config, text),
            lambda report: train_generator(self.root, name, latents, config, runtime, report, text),
        )

    def sample(self, models: Models, checkpoint: int | None = None) -> "SampleFolder | SampleSet":
        """Generator, autoencoder and pixel decoder → images: a few in this process, or many on workers.

        With `checkpoint` those of the generator as it was after so many steps, always below the root.
        """
        from jobs.sampling import with_fitting_guidance

        config = self.recipe.sample
        if checkpoint is not None:
            config = replace(config, checkpoint=checkpoint, out=None)
        asked, config = config, with_fitting_guidance(config, models)
        if config != asked:
            self.output.say(f"sample: {models.generator.path.name} is unconditional: guidance is off (1)")
        return self.sample_many(models, config) if config.format or config.out else self.sample_few(models, config)

    def sample_many(self, models: Models, config: SampleConfig) -> "SampleSet":
        """A store of samples, and its files in the format that is asked for."""
        from pipeline.artifacts import locate_set, make_set

        runtime = self.recipe.runtime
        made = locate_set(self.root, self.recipe.name, models, config, runtime)
        if made.complete:
            self.note(Outcome("sample", made.path, True))
            return made
        outcome = Outcome("sample", made.path, False)
        self.work(outcome, "images", lambda report: make_set(made, models, config, runtime, report), [made.writer.path])
        if not self.dry_run:
            outcome.metrics = {"images": config.num, "store": str(made.writer.path)}
        return made

    def sample_few(self, models: Models, config: SampleConfig) -> "SampleFolder":
        """PNG files and a grid."""
        from pipeline.artifacts import locate_samples, make_samples

        folder = locate_samples(self.root, self.recipe.name, models, config)
        outcome = Outcome("sample", folder.path, folder.complete)
        if outcome.up_to_date:
            if not self.dry_run:
                folder.draw_grid(config.columns)
            self.note(outcome)
            return folder
        self.work(outcome, "images", lambda report: make_samples(folder, models, config, self.recipe.runtime, report))
        return folder
