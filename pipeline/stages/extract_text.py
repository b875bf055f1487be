"""Captions to a text store, by a frozen text encoder."""

import pyarrow as pa

from jobs.executors import OnProgress
from pipeline.artifacts import BucketSetArtifact
from pipeline.config import Recipe
from pipeline.stages.base import Job, PlanInputs, StageContext, StoreStage, Work, dtype_line
from stores import AnyStore, BucketSet
from stores.backends import inside
from stores.core import member_stores


class ExtractText(StoreStage):
    """Captions of a store's rows → a text store in the same order."""

    name = "extract-text"

    def job(self, context: StageContext, features: AnyStore) -> Job[AnyStore]:
        """Tokenize the captions, which decide the records' length."""
        from jobs.executors import pick_device
        from jobs.extraction import extract_text, extract_text_set, plan_text, set_location, text_writer, write_set

        config, runtime, name = context.recipe.text, context.recipe.runtime, context.recipe.name
        cache, parent = context.scratch() / "cache" / "captions", inside(context.stores, "text")
        rows = pa.concat_tables([store.index.select(["caption"]) for store in member_stores(features)])
        plan = plan_text(rows, config, pick_device(runtime.device), cache, features.url)
        if plan.dtype_choice:
            context.output.say(f"{self.name}: {dtype_line('states', plan.dtype_choice)}")
        if plan.cut:
            context.output.say(f"{self.name}: {plan.cut} different captions are cut after {plan.max_tokens} tokens")
        if not isinstance(features, BucketSet):
            writer = text_writer(features, parent, name, plan, config, runtime)
            return self.of([writer], lambda report: [extract_text(writer, plan, config, runtime, report)])
        rule, index = features.rule, features.index
        writers = {
            size: text_writer(store, parent, f"{name}-{size}", plan, config, runtime)
            for size, store in features.stores.items()
        }
        location = set_location(context.stores, name, rule, writers)

        def fill(report: OnProgress) -> BucketSet:
            stores = extract_text_set([*writers.values()], plan, config, runtime, report)
            return write_set(location, name, rule, writers, stores, index)

        return self.of_set(BucketSetArtifact(location, rule, writers), fill)

    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """Every caption once."""
        written = sum(size for array, size in plan.store_bytes.items() if array in TEXT_ARRAYS)
        return Work(plan.images * recipe.text.captions * plan.flops["text encoder"], 0.0, written)


TEXT_ARRAYS = ("states", "length", "pooled")
