"""Features to latents, by the autoencoder."""

from jobs.runs import RunFolder
from pipeline.config import Recipe
from pipeline.stages.base import Job, PlanInputs, StageContext, StoreStage, Work
from stores import Store
from stores.backends import inside


class Encode(StoreStage):
    """Feature store and autoencoder → latent store."""

    name = "encode"

    def job(self, context: StageContext, features: Store, autoencoder: RunFolder) -> Job[Store]:
        """Encode every row once."""
        from jobs.extraction import encode, latent_writer

        recipe = context.recipe
        config, runtime = recipe.encode, recipe.runtime
        writer = latent_writer(features, autoencoder, inside(context.stores, "latents"), recipe.name, config, runtime)
        return self.of([writer], lambda report: [encode(writer, features, autoencoder, config, runtime, report)])

    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """A pass of the autoencoder's encoder over every view."""
        passes = plan.images * plan.views
        return Work(passes * plan.flops["encode"], plan.store_bytes["features"], plan.store_bytes["latents"])
