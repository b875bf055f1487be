"""Images to feature stores, by the frozen encoder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.config import DataConfig, ExtractConfig
from jobs.executors import OnProgress
from pipeline.artifacts import SKLEARN_DIGITS, BucketSetArtifact, State, check_data_files, image_path
from pipeline.config import Recipe
from pipeline.console import data_lines, warning_lines
from pipeline.stages.base import Job, PlanInputs, StageContext, StoreStage, Work, dtype_line
from stores import AnyStore, BucketSet, Store, StoreWriter
from stores.backends import inside

if TYPE_CHECKING:
    from jobs.extraction import FeaturePlan


class Extraction(NamedTuple):
    """The stores of an extraction: their writers and plans, where the images are, and what was understood of them."""

    writers: "list[StoreWriter]"
    plans: "list[FeaturePlan]"
    data: DataConfig
    record: dict[str, Any]


class Extract(StoreStage):
    """Images → a feature store for each config; these differ in encoder and block, images are decoded once."""

    name = "extract"

    def check(self, root: Path, recipe: Recipe) -> None:
        """The images, their tables and the encoder's name."""
        from fae.encoders import check_encoder_name

        if recipe.data.path != SKLEARN_DIGITS:
            image_path(recipe.data, root)
        check_data_files(recipe.data)
        if recipe.extract.buckets is not None:
            from jobs.extraction import bucket_rule

            bucket_rule(recipe.extract)
        check_encoder_name(recipe.extract.encoder)
        weights = recipe.extract.weights
        if weights is not None and not Path(weights.removeprefix("local-dir:")).exists():
            raise FileNotFoundError(
                f"extract.weights: expected a file, or local-dir:FOLDER; received {weights!r}, which is not there"
            )

    def job(self, context: StageContext, configs: Sequence[ExtractConfig] = ()) -> Job[AnyStore]:
        """Scan the images, which decide the fingerprints."""
        if context.recipe.extract.buckets is not None:
            return self._into_buckets(context, configs)
        planned = self.planned(context, configs)

        def fill(report: OnProgress) -> list[Store]:
            from jobs.extraction import extract

            return extract(planned.writers, planned.plans, planned.data, context.recipe.runtime, report)

        return replace(self.of(planned.writers, fill), data=planned.record)

    def planned(self, context: StageContext, configs: Sequence[ExtractConfig] = ()) -> "Extraction":
        """Scan the images and plan the stores; of unfinished ones say what was understood of the images."""
        from jobs.extraction import data_record, plan_features

        recipe, scratch = context.recipe, context.scratch()
        data, runtime = image_path(recipe.data, scratch), recipe.runtime
        parent = inside(context.stores, self.spec.makes)
        with context.output.progress("scan", "images") as scanned:
            plans = plan_features(
                *(data, configs or [recipe.extract], runtime, scratch / "cache"),
                lambda done, total: scanned(done, total, {}),
                lambda done, total: scanned(0, None, {"archives_listed": done, "archives": total}),
            )
        writers = [plan.writer(parent, recipe.name) for plan in plans]
        record = data_record(plans[0].scanned.summary, data)
        if not all(writer.complete for writer in writers):
            plans = [plan.with_data_record(data) for plan in plans]
            writers = [plan.writer(parent, recipe.name) for plan in plans]
            record = plans[0].attributes["data"]
            chosen = [plan.attributes["dtype_choice"] for plan in plans if "dtype_choice" in plan.attributes]
            lines = [f"{self.name}: {dtype_line('features', choice)}" for choice in chosen]
            for line in [*data_lines(record), *warning_lines(record), *lines]:
                context.output.say(line)
        return Extraction(writers, plans, data, record)

    def _into_buckets(self, context: StageContext, configs: Sequence[ExtractConfig]) -> Job[AnyStore]:
        """A store for each size, and the record of their set once all are complete."""
        from jobs.extraction import data_record, extract_buckets, plan_buckets

        if len(configs) > 1:
            raise ValueError(f"extract.buckets: expected one encoder and block; received {len(configs)}")
        recipe, scratch, config = context.recipe, context.scratch(), (configs or [context.recipe.extract])[0]
        data, runtime = image_path(recipe.data, scratch), recipe.runtime
        with context.output.progress("scan", "images") as scanned:
            plan = plan_buckets(
                *(data, config, runtime, scratch / "cache"),
                lambda done, total: scanned(done, total, {}),
                lambda done, total: scanned(0, None, {"archives_listed": done, "archives": total}),
            )
        parent = inside(context.stores, self.spec.makes)
        writers = plan.writers(parent, recipe.name)
        if not all(writer.complete for writer in writers.values()):
            plan = plan.with_data_record(data)
            writers = plan.writers(parent, recipe.name)
            record = next(iter(plan.plans.values())).attributes["data"]
            for line in [*data_lines(record), *warning_lines(record)]:
                context.output.say(line)
        artifact = BucketSetArtifact(plan.location(context.stores, recipe.name, writers), plan.rule, writers)
        if artifact.state is not State.COMPLETE:
            for size, writer in writers.items():
                context.output.say(f"bucket {size}: {writer.num_rows:,} images")

        def fill(report: OnProgress) -> BucketSet:
            stores = extract_buckets(plan, writers, data, runtime, report)
            return plan.write_set(context.stores, recipe.name, writers, stores)

        first = next(iter(plan.plans.values()))
        return replace(self.of_set(artifact, fill), data=data_record(first.scanned.summary, data))

    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """A pass of the encoder over every view."""
        written = sum(size for array, size in plan.store_bytes.items() if array in ("features", "pixels"))
        passes = plan.images * plan.views
        return Work(passes * plan.flops["frozen encoder"], plan.images * plan.image_bytes, written)
