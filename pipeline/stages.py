"""The stages as a chain: each knows where its result lies, says whether it is there and why not, and makes it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jobs.config import ExtractConfig, SampleConfig
from jobs.run_folder import Models, RunFolder, siblings
from jobs.shards import OnProgress
from pipeline.data_paths import picture_path, scratch_of
from pipeline.output import Output
from pipeline.recipe import Recipe
from pipeline.watch import Watch
from stores import Store, StoreWriter, explain_difference, find_manifests

if TYPE_CHECKING:
    from pipeline.sample_set import SampleSet
    from pipeline.sampling import SampleFolder

T = TypeVar("T")


@dataclass
class Outcome:
    """What became of a stage: where its result lies, whether work was done, and what made it needed."""

    stage: str
    path: Path
    done_before: bool
    why: list[str] = field(default_factory=list)
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        return {
            "stage": self.stage,
            "path": str(self.path),
            "up_to_date": self.done_before,
            "why": self.why,
            "seconds": round(self.seconds, 2),
            "figures": self.figures,
        }


@dataclass
class Stages:
    """The stages of one recipe under one root folder. With `dry_run` nothing is written and nothing is trained.

    Each stage imports its own job, so a stage cannot load what is not its business: the frozen encoder is known to
    `extract` alone, the autoencoder not to `train_gen`.
    """

    root: Path
    recipe: Recipe
    output: Output
    dry_run: bool = False
    watch: Watch = field(default_factory=Watch)
    outcomes: list[Outcome] = field(default_factory=list)

    def extract(self) -> Store | None:
        """Pictures → feature store."""
        return self.extract_each([self.recipe.extract])[0]

    def extract_each(self, configs: Sequence[ExtractConfig]) -> list[Store | None]:
        """Pictures → a feature store for each config; these differ in encoder and block, pictures are decoded once."""
        from jobs.extract import extract, plan_features

        recipe, parent = self.recipe, self.root / "features"
        with scratch_of(self.root, self.dry_run) as place:
            data = picture_path(recipe.data, place)
            with self.output.progress("scan", "pictures") as scanned:
                plans = plan_features(
                    data, configs, recipe.runtime, place / "cache", lambda done, total: scanned(done, total, {})
                )
            writers = [plan.writer(parent, recipe.name) for plan in plans]
            return self._stores(
                "extract", writers, lambda report: extract(writers, plans, data, recipe.runtime, report)
            )

    def extract_text(self, source: Store) -> Store | None:
        """Captions of a store's rows → text store in the same order."""
        from jobs.devices import pick_device
        from jobs.extract_text import extract_text, plan_text, text_writer

        config, runtime = self.recipe.text, self.recipe.runtime
        with scratch_of(self.root, self.dry_run) as place:
            plan = plan_text(source.index, config, pick_device(runtime.device), place / "cache" / "captions")
        writer = text_writer(source, self.root / "text", self.recipe.name, plan, config, runtime)
        if plan.cut:
            self.output.say(f"extract-text: {plan.cut} different captions are cut after {plan.max_tokens} tokens")
        return self._store("extract-text", writer, lambda report: extract_text(writer, plan, config, runtime, report))

    def train_ae(self, features: Store) -> RunFolder | None:
        """Feature store → feature autoencoder."""
        from jobs.train_ae import autoencoder_ingredients, train_autoencoder

        config, runtime = self.recipe.autoencoder, self.recipe.runtime
        ingredients = autoencoder_ingredients(features, config)
        return self._run(
            "train-ae",
            "autoencoders",
            self.recipe.name,
            ingredients,
            lambda report: train_autoencoder(self.root, self.recipe.name, features, config, runtime, report),
        )

    def train_decoder(self, features: Store, autoencoder: RunFolder | None) -> RunFolder | None:
        """Feature store (and autoencoder) → pixel decoder."""
        from jobs.train_decoder import decoder_stages, train_decoder

        config, name, runtime = self.recipe.decoder, self.recipe.name, self.recipe.runtime
        planned = decoder_stages(self.root, name, features, autoencoder, config)
        last, ingredients = planned[-1]
        return self._run(
            "train-decoder",
            "decoders",
            last,
            ingredients,
            lambda report: train_decoder(self.root, name, features, autoencoder, config, runtime, report),
            [RunFolder.locate(self.root, "decoders", *one) for one in planned],
        )

    def encode(self, features: Store, autoencoder: RunFolder) -> Store | None:
        """Feature store and autoencoder → latent store."""
        from jobs.encode import encode, latent_writer

        config, runtime = self.recipe.encode, self.recipe.runtime
        writer = latent_writer(features, autoencoder, self.root / "latents", self.recipe.name, config, runtime)
        return self._store(
            "encode", writer, lambda report: encode(writer, features, autoencoder, config, runtime, report)
        )

    def train_gen(self, latents: Store, text: Store | None = None) -> RunFolder | None:
        """Latent store (and text store of its captions) → generator."""
        from jobs.train_gen import generator_ingredients, train_generator

        config, name, runtime = self.recipe.generator, self.recipe.name, self.recipe.runtime
        return self._run(
            "train-gen",
            "generators",
            name,
            generator_ingredients(latents, config, text),
            lambda report: train_generator(self.root, name, latents, config, runtime, report, text),
        )

    def sample(self, models: Models, checkpoint: int | None = None) -> "SampleFolder | SampleSet":
        """Generator, autoencoder and pixel decoder → pictures: a few in this process, or many on workers.

        With `checkpoint` those of the generator as it was after so many steps, always below the root.
        """
        config = self.recipe.sample
        if checkpoint is not None:
            config = replace(config, checkpoint=checkpoint, out=None)
        return self.sample_many(models, config) if config.format or config.out else self.sample_few(models, config)

    def sample_many(self, models: Models, config: SampleConfig) -> "SampleSet":
        """A store of samples, and its files in the format that is asked for."""
        from pipeline.sample_set import locate_set, make_set

        runtime = self.recipe.runtime
        made = locate_set(self.root, self.recipe.name, models, config, runtime)
        if made.complete:
            self.note(Outcome("sample", made.path, True))
            return made
        outcome = Outcome("sample", made.path, False)
        self._work(
            outcome, "pictures", lambda report: make_set(made, models, config, runtime, report), [made.writer.path]
        )
        if not self.dry_run:
            outcome.figures = {"pictures": config.num, "store": str(made.writer.path)}
        return made

    def sample_few(self, models: Models, config: SampleConfig) -> "SampleFolder":
        """PNG files and a grid."""
        from pipeline.sampling import locate_samples, make_samples

        folder = locate_samples(self.root, self.recipe.name, models, config)
        outcome = Outcome("sample", folder.path, folder.complete)
        if outcome.done_before:
            if not self.dry_run:
                folder.draw_grid(config.columns)
            self.note(outcome)
            return folder
        self._work(
            outcome, "pictures", lambda report: make_samples(folder, models, config, self.recipe.runtime, report)
        )
        return folder

    def _store(self, stage: str, writer: StoreWriter, make: Callable[[OnProgress], Store]) -> Store | None:
        return self._stores(stage, [writer], lambda report: [make(report)])[0]

    def _stores(
        self, stage: str, writers: Sequence[StoreWriter], make: Callable[[OnProgress], list[Store]]
    ) -> list[Store | None]:
        """The stores, made together when any is unfinished; None for those that a dry run does not make."""
        outcomes = [Outcome(stage, writer.path, writer.complete, _why(writer)) for writer in writers]
        to_do = [outcome for outcome in outcomes if not outcome.done_before]
        for outcome in outcomes:
            if outcome.done_before:
                self.note(outcome)
        stores: Sequence[Store | None] | None = self._work_all(to_do, "pictures", make) if to_do else None
        if stores is None:
            return [writer.finalise() if writer.complete else None for writer in writers]
        for outcome, store in zip(outcomes, stores, strict=True):
            if store is not None and not outcome.done_before:
                rejected = store.num_rows - len(store.rows())
                outcome.figures = {"rows": store.num_rows, "rejected": rejected, "content_id": store.content_id}
        return list(stores)

    def _run(
        self,
        stage: str,
        kind: str,
        name: str,
        ingredients: dict[str, Any],
        make: Callable[[OnProgress], RunFolder],
        places: Sequence[Path] = (),
    ) -> RunFolder | None:
        path = RunFolder.locate(self.root, kind, name, ingredients)
        if (path / "run.json").exists() and (run := RunFolder.open(path)).complete:
            self.note(Outcome(stage, path, True, figures=run.record["figures"]))
            return run
        others = [] if path.exists() else siblings(self.root, kind, name)
        newest = max(others, key=lambda run: run.record["created_unix_seconds"], default=None)
        why = explain_difference(newest.record["ingredients"], ingredients) if newest else []
        outcome = Outcome(stage, path, False, why)
        run_or_none = self._work(outcome, "steps", make, places)
        if run_or_none is not None:
            outcome.figures = run_or_none.record["figures"]
        return run_or_none

    def _work(
        self, outcome: Outcome, unit: str, make: Callable[[OnProgress], T], places: Sequence[Path] = ()
    ) -> T | None:
        return self._work_all([outcome], unit, make, places)

    def _work_all(
        self, outcomes: Sequence[Outcome], unit: str, make: Callable[[OnProgress], T], places: Sequence[Path] = ()
    ) -> T | None:
        """Say why, then make the results of one stage while others watch; in a dry run only say it.

        `places` are the folders that it makes when they are not the outcomes' own.
        """
        for outcome in outcomes:
            for line in outcome.why:
                self.output.say(f"{outcome.stage}: changed: {line}")
        result, seconds = None, 0.0
        if not self.dry_run:
            started = time.perf_counter()
            watchers = self.watch.watchers(places or [outcome.path for outcome in outcomes])
            with self.output.progress(outcomes[0].stage, unit, watchers=watchers) as report:
                result = make(report)
            seconds = time.perf_counter() - started
        for outcome in outcomes:
            outcome.seconds = seconds
            self.note(outcome)
        return result

    def note(self, outcome: Outcome) -> None:
        """Keep an outcome, and say it."""
        self.outcomes.append(outcome)
        state = (
            "up to date"
            if outcome.done_before
            else "would be made"
            if self.dry_run
            else f"done in {outcome.seconds:.1f} s"
        )
        self.output.say(f"{outcome.stage}: {state}: {outcome.path}")


def _why(writer: StoreWriter) -> list[str]:
    """How a store that is not there yet differs from the newest one of its name."""
    others = [] if writer.complete or writer.begun else find_manifests(writer.path.parent, writer.manifest.name)
    return explain_difference(others[-1][1].ingredients, writer.manifest.ingredients) if others else []
