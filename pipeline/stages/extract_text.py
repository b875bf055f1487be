"""Captions to a text store, by a frozen text encoder."""

from pipeline.config import Recipe
from pipeline.stages.base import Job, PlanInputs, StageContext, StoreStage, Work, dtype_line
from stores import Store
from stores.backends import inside


class ExtractText(StoreStage):
    """Captions of a store's rows → a text store in the same order."""

    name = "extract-text"

    def job(self, context: StageContext, features: Store) -> Job[Store]:
        """Tokenize the captions, which decide the records' length."""
        from jobs.executors import pick_device
        from jobs.extraction import extract_text, plan_text, text_writer

        config, runtime, name = context.recipe.text, context.recipe.runtime, context.recipe.name
        cache = context.scratch() / "cache" / "captions"
        plan = plan_text(features.index, config, pick_device(runtime.device), cache, features.url)
        writer = text_writer(features, inside(context.stores, "text"), name, plan, config, runtime)
        if plan.dtype_choice:
            context.output.say(f"{self.name}: {dtype_line('states', plan.dtype_choice)}")
        if plan.cut:
            context.output.say(f"{self.name}: {plan.cut} different captions are cut after {plan.max_tokens} tokens")
        return self.of([writer], lambda report: [extract_text(writer, plan, config, runtime, report)])

    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """Every caption once."""
        written = sum(size for array, size in plan.store_bytes.items() if array in TEXT_ARRAYS)
        return Work(plan.images * recipe.text.captions * plan.flops["text encoder"], 0.0, written)


TEXT_ARRAYS = ("states", "length", "pooled")
