"""Stores that a training fills on the way (`--encode-on-miss`): planned as their own stage does, then followed."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from jobs.config import FollowConfig
from pipeline.artifacts import ArtifactError, find_data, find_location, find_run, find_store
from pipeline.stages.base import RunStage, StageContext
from pipeline.stages.extract import Extract
from stores import AnyStore, BucketSet, Store, StoreWriter, explain_difference, find_manifests
from stores.backends import Location, inside, open_bytestore
from stores.core import read_manifest
from stores.format import COMPLETE, Manifest

if TYPE_CHECKING:
    from jobs.following import FollowedStore


@dataclass(frozen=True)
class OnMiss(ABC):
    """What a command says of such a store; it is planned when the training's job is asked for.

    Attributes:
        follow: When the training begins.
        named: Name or path of the store, where one is given: it must be the one that the settings make.
        statistics_from: Finished store whose channel statistics are taken.
    """

    follow: FollowConfig
    named: str | None
    statistics_from: str | None

    kind: ClassVar[str]

    @abstractmethod
    def open(self, context: StageContext) -> "FollowedStore":
        """Plan the store, begin it where it is not there, and follow it.

        Raises:
            ArtifactError: The settings make another store than the one that is named, or that is unfinished.
            IncompleteStoreError, ValueError: Whose channel statistics to take is not said, or twice.
        """

    def source(self, context: StageContext) -> Store | None:
        """The finished store whose channel statistics are taken.

        Raises:
            IncompleteStoreError, ValueError: Whose to take is not said, and no finished store of this name is there, or
                it is said twice; so nothing is looked at for long.
        """
        from jobs.following import check_statistics

        parent = inside(context.stores, self.kind)
        found = None if self.statistics_from is None else find_store(context.stores, self.kind, self.statistics_from)
        complete = [one for one in find_manifests(parent, context.recipe.name) if one[1].status == COMPLETE]
        check_statistics(str(inside(parent, context.recipe.name)), bool(complete), self.follow, found)
        return found

    def placed(
        self, context: StageContext, writer: StoreWriter, writer_at: Callable[[Location], StoreWriter]
    ) -> StoreWriter:
        """The writer of the store that the settings make, where that is the one that is meant.

        A dry run that would begin the store has a temporary folder instead, where `writer_at` puts it.
        """
        meant = self._meant(context, writer)
        if meant is not None and meant[1].fingerprint != writer.manifest.fingerprint:
            differences = "; ".join(explain_difference(meant[1].ingredients, writer.manifest.ingredients))
            if self.named is not None or meant[1].status != COMPLETE:
                raise ArtifactError(
                    f"--encode-on-miss: expected the settings that make {meant[0]}; received others ({differences}); "
                    "give those, or another --name"
                )
            context.output.say(
                f"--encode-on-miss: {meant[0]} was made with other settings ({differences}): begins anew"
            )
        return writer_at(context.scratch()) if context.dry_run and not writer.begun else writer

    def _meant(self, context: StageContext, writer: StoreWriter) -> tuple[Location, Manifest] | None:
        """The store that is named; else, while the planned one is not begun, the newest of this name."""
        # An unfinished one goes before: it must be the one that the settings make.
        if self.named is not None:
            location = find_location(context.stores, self.named, (self.kind,))
            return location, read_manifest(open_bytestore(location))
        if writer.begun:
            return None
        found = find_manifests(inside(context.stores, self.kind), writer.manifest.name)
        unfinished = [one for one in found if one[1].status != COMPLETE]
        same_name = unfinished or found
        return same_name[-1] if same_name else None


def opened(stage: RunStage, context: StageContext, data: AnyStore | OnMiss) -> AnyStore:
    """The data of a training; a store that it fills on the way is planned now."""
    if not isinstance(data, OnMiss):
        return data
    store: AnyStore = stage.prepared(context.recipe, (data.open(context),))[0]
    return store


@dataclass(frozen=True)
class FeaturesOnMiss(OnMiss):
    """Features of the images that the recipe names."""

    kind: ClassVar[str] = "features"

    def open(self, context: StageContext) -> "FollowedStore":
        from jobs.following import follow_images

        source, runtime = self.source(context), context.recipe.runtime
        extraction = Extract().planned(context)
        (plan,), (writer,) = extraction.plans, extraction.writers
        writer = self.placed(context, writer, partial(plan.writer, name=context.recipe.name))
        return follow_images(writer, plan, extraction.data.max_rejected, runtime, self.follow, source)


@dataclass(frozen=True)
class LatentsOnMiss(OnMiss):
    """Latents of finished features, by an autoencoder.

    Attributes:
        features: Name or path of the features, the recipe's name when None.
        autoencoder: Of the autoencoder.
    """

    features: str | None
    autoencoder: str | None

    kind: ClassVar[str] = "latents"

    def open(self, context: StageContext) -> "FollowedStore":
        from jobs.extraction import latent_writer
        from jobs.following import follow_latents

        recipe, config, runtime = context.recipe, context.recipe.encode, context.recipe.runtime
        features = find_data(context.stores, "features", self.features or recipe.name)
        if isinstance(features, BucketSet):
            raise ArtifactError(
                f"--encode-on-miss: expected one store of features; received the bucket set {features.url}; "
                "run `fae-pipe encode` first"
            )
        run = find_run(context.root, "autoencoders", self.autoencoder or recipe.name)

        def writer_at(parent: Location) -> StoreWriter:
            return latent_writer(features, run, parent, recipe.name, config, runtime)

        writer = self.placed(context, writer_at(inside(context.stores, self.kind)), writer_at)
        return follow_latents(writer, features, run, config, runtime, self.follow, self.source(context))
