"""Features to latents, by the autoencoder."""

from jobs.executors import OnProgress
from jobs.runs import RunFolder
from pipeline.artifacts import BucketSetArtifact
from pipeline.config import Recipe
from pipeline.stages.base import Job, PlanInputs, StageContext, StoreStage, Work
from stores import AnyStore, BucketSet
from stores.backends import inside


class Encode(StoreStage):
    """Feature store, or a bucket set of them, and autoencoder → latent store, or a set of these."""

    name = "encode"

    def job(self, context: StageContext, features: AnyStore, autoencoder: RunFolder) -> Job[AnyStore]:
        """Encode every row once."""
        from jobs.extraction import encode, latent_writer

        if isinstance(features, BucketSet):
            return self._of_buckets(context, features, autoencoder)
        recipe = context.recipe
        config, runtime = recipe.encode, recipe.runtime
        writer = latent_writer(features, autoencoder, inside(context.stores, "latents"), recipe.name, config, runtime)
        return self.of([writer], lambda report: [encode(writer, features, autoencoder, config, runtime, report)])

    def _of_buckets(self, context: StageContext, features: BucketSet, autoencoder: RunFolder) -> Job[AnyStore]:
        """A latent store for each size, and the record of their set once all are complete."""
        from jobs.extraction import encode_buckets, latent_writer, set_location, write_set

        recipe, parent = context.recipe, inside(context.stores, "latents")
        config, runtime, name, rule = recipe.encode, recipe.runtime, recipe.name, features.rule
        writers = {
            size: latent_writer(store, autoencoder, parent, f"{name}-{size}", config, runtime)
            for size, store in features.stores.items()
        }
        location = set_location(context.stores, name, rule, writers)

        def fill(report: OnProgress) -> BucketSet:
            stores = encode_buckets(features, writers, autoencoder, config, runtime, report)
            return write_set(location, name, rule, writers, stores, features.index)

        return self.of_set(BucketSetArtifact(location, rule, writers), fill)

    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """A pass of the autoencoder's encoder over every view."""
        passes = plan.images * plan.views
        return Work(passes * plan.flops["encode"], plan.store_bytes["features"], plan.store_bytes["latents"])
