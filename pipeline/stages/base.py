"""What a stage is: a job for some inputs, the metrics of its result, and an estimate of its work."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from jobs.config import TrainConfig
from jobs.executors import OnProgress
from jobs.runs import METRICS_FILE, RunFolder, processor_seconds
from pipeline.artifacts import Artifact, BucketSetArtifact, RunArtifact, State, StoreArtifact, find_run
from pipeline.config import Recipe, StageSpec, spec_of
from pipeline.console import Output
from stores import AnyStore, BucketSet, Store, StoreWriter
from stores.backends import Location, is_url
from stores.core import member_stores, with_cache

Result = TypeVar("Result")
Config = TypeVar("Config", bound=TrainConfig)


@dataclass(frozen=True)
class StageContext:
    """Where and how a stage works; `scratch()` is the folder of digests and unpacked images, temporary in a dry run."""

    root: Path
    recipe: Recipe
    output: Output
    dry_run: bool
    scratch: Callable[[], Path]
    stores: Location


@dataclass(frozen=True)
class Job(Generic[Result]):
    """A stage's work for some inputs.

    Attributes:
        artifacts: The results, whether or not they were made.
        run: Makes those that are not complete; returns the results of all artifacts.
        open: The result of an artifact that is complete.
        folders: Folders that are filled on the way, where they are not the artifacts' own.
        planned: What a dry run goes on with in place of a result.
        data: What was understood of the images, where the stage reads any.
    """

    artifacts: Sequence[Artifact]
    run: Callable[[OnProgress], list[Result]]
    open: Callable[[Any], Result]
    folders: Sequence[Path] | None = None
    planned: Result | None = None
    data: dict[str, Any] | None = None


class Work(NamedTuple):
    """A stage's work: floating-point operations, and bytes that storage gives and takes."""

    flops: float
    bytes_read: float
    bytes_written: float = 0.0


@dataclass(frozen=True)
class PlanInputs:
    """What estimates are made of.

    Attributes:
        images: Images in all.
        views: Views of each.
        image_bytes: Mean size of an image's file.
        flops: Operations of each model's forward pass for an image (of the text encoder for a caption).
        row_bytes: Bytes of a record, by array.
        store_bytes: Bytes of a store, by array.
        function_evaluations: Evaluations of the generator for a sample.
    """

    images: int
    views: int
    image_bytes: float
    flops: Mapping[str, float]
    row_bytes: Mapping[str, int]
    store_bytes: Mapping[str, int]
    function_evaluations: float


class Stage(ABC, Generic[Result]):
    """A stage of the pipeline; `name` is its row in the table of stages."""

    name: str

    @property
    def spec(self) -> StageSpec:
        """Its row in the table."""
        return spec_of(self.name)

    def inputs(self, root: Path, recipe: Recipe, results: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The arguments of `job` among the results so far (by folder); None when one is missing or nothing is to do."""
        found = tuple(results.get(kind) for kind in self.spec.reads)
        return None if any(one is None for one in found) else found

    def prepared(self, recipe: Recipe, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The inputs as `job` is to read them."""
        return inputs

    def check(self, root: Path, recipe: Recipe) -> None:
        """Refuse settings that are wrong whatever the inputs hold; nothing heavy is loaded.

        Raises:
            ValueError, FileNotFoundError: They are.
        """

    @abstractmethod
    def job(self, context: StageContext, *inputs: Any) -> Job[Result]:
        """The work for these inputs (results of the stages that it reads), with nothing done yet."""

    @abstractmethod
    def metrics(self, result: Result, made: bool) -> dict[str, Any]:
        """What is reported of a result; `made`: it was made just now."""

    def remarks(self, result: Result) -> list[str]:
        """What a person should know of a result that was made just now, beside its metrics."""
        return []

    @abstractmethod
    def work(self, recipe: Recipe, plan: PlanInputs) -> Work:
        """Estimate the work of a recipe's stage."""


class StoreStage(Stage[AnyStore]):
    """A stage that fills stores."""

    def metrics(self, result: AnyStore, made: bool) -> dict[str, Any]:
        """Rows and content id of a store or a bucket set that was made just now."""
        rejected = result.num_rows - sum(len(store.rows()) for store in member_stores(result))
        return {"rows": result.num_rows, "rejected": rejected, "content_id": result.content_id} if made else {}

    @staticmethod
    def of(writers: Sequence[StoreWriter], fill: Callable[[OnProgress], list[Store]]) -> Job[AnyStore]:
        """The job that fills the stores of these writers."""
        return Job([StoreArtifact(writer) for writer in writers], lambda report: [*fill(report)], StoreArtifact.open)

    @staticmethod
    def of_set(artifact: BucketSetArtifact, fill: Callable[[OnProgress], BucketSet]) -> Job[AnyStore]:
        """The job that fills the stores of a set, and writes its record."""
        folders = [writer.path for writer in artifact.writers.values() if not is_url(writer.url)]
        return Job([artifact], lambda report: [fill(report)], BucketSetArtifact.open, folders)


class RunStage(Stage[RunFolder]):
    """A stage that trains a model."""

    def prepared(self, recipe: Recipe, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Stores at URLs, which every epoch reads, are read through copies of their shards where a folder is given."""
        folder, num_bytes = recipe.runtime.cache_dir, int(recipe.runtime.cache_gib * 2**30)
        return tuple(with_cache(one, folder, num_bytes) if isinstance(one, Store) else one for one in inputs)

    def settled(self, context: StageContext, config: Config, data: AnyStore) -> Config:
        """The settings with what is left open picked, and the run to start from found.

        Raises:
            ArtifactError: There is no such run.
        """
        from jobs.loop import settle_for

        if config.init_from is not None:
            config = replace(config, init_from=str(find_run(context.root, self.spec.makes, config.init_from).path))
        return settle_for(config, data, context.recipe.runtime)

    def awaited(self, context: StageContext, run: Artifact, store: AnyStore, batch_rows: int) -> AnyStore:
        """A store that is followed once it has the rows for a first step, which may take as long as it fills.

        Rows that nobody else writes are encoded here, where the store has an encoder.

        A run that was begun goes on from the rows that it has recorded; any other store is returned as it is.

        Raises:
            IncompleteStoreError: No row comes any more.
            ValueError: More rows are asked for than there will be, or fewer than a batch.
        """
        from jobs.following import EpochRecord, FollowedStore, wait_for_rows

        if not isinstance(store, FollowedStore) or context.dry_run or run.state is State.COMPLETE:
            return store
        planned = len(store.rows("train"))
        wanted = store.follow.first_rows(batch_rows, planned)
        recorded = EpochRecord.open(Path(run.path), store.fingerprint).covering(0)
        if recorded is not None:
            if recorded.is_part and store.encoder is None and not store.follower.complete:
                raise ValueError(
                    f"{run.path}: expected --encode-on-miss, with which this run was begun, since {store.url} is not "
                    "finished and the first epoch has every row; received --follow alone; give it again, or finish the "
                    "store first"
                )
            return store.beginning_at(recorded.snapshot)
        with context.output.progress(f"{self.name}: waiting for {store.name}", "rows") as report:
            if store.encoder is None:
                view = wait_for_rows(store.follower, wanted, store.follow.patience_seconds, report)
            else:
                from jobs.following import encode_rows  # which knows encoders and sources of images

                view = encode_rows(store, wanted, context.recipe.runtime, report)
        there = len(view.rows("train"))
        context.output.say(
            f"{self.name}: follows {store.url}: begins with {there:,} of {planned:,} training rows, {wanted:,} wanted, "
            f"with the channel statistics of {store.whose_statistics}"
        )
        return store.beginning_with(view)

    def artifact(
        self, context: StageContext, name: str, ingredients: dict[str, Any], config: TrainConfig
    ) -> RunArtifact:
        """The run of these ingredients, with what a URL has of it to go on from."""
        run = RunArtifact(context.root, self.spec.makes, name, ingredients)
        if not context.dry_run:
            run.fetch(config)
        return run

    def training(
        self, context: StageContext, runs: Sequence[RunArtifact], train: Callable[[OnProgress], RunFolder]
    ) -> Job[RunFolder]:
        """The job of a training that makes these runs, the last of them its result; they are copied to a URL's root."""
        from jobs.remote import train_with_copies

        paths, take_over = [run.path for run in runs], context.recipe.runtime.take_over

        def run(report: OnProgress) -> list[RunFolder]:
            return [train_with_copies(paths, train, report, context.output.say, take_over)]

        return Job([runs[-1]], run, RunArtifact.open, folders=paths)

    def remarks(self, result: RunFolder) -> list[str]:
        """Which rows the epochs of a training saw that followed a store."""
        from jobs.following import epochs_text

        return [epochs_text(result.record.followed)] if result.record.followed else []

    def say_notes(self, context: StageContext, run: Artifact, notes: Callable[[], Sequence[str]]) -> None:
        """Say what a person should know before a training; nothing of one that is finished."""
        if run.state is not State.COMPLETE:
            for note in notes():
                context.output.say(f"{self.name}: {note}")

    def metrics(self, result: RunFolder, made: bool) -> dict[str, Any]:
        """The metrics of the training's end, and the processor seconds of its steps where its log has them."""
        seconds = processor_seconds(result.path / METRICS_FILE)
        return result.record.metrics | ({} if seconds is None else {"processor_seconds": round(seconds, 1)})


def dtype_line(what: str, choice: dict[str, Any]) -> str:
    """What was chosen for --dtype auto, and by which errors."""
    errors = ", ".join(
        f"{name} {'beyond its range' if error is None else f'{error:.2%}'}" for name, error in choice["errors"].items()
    )
    return (
        f"{what} are stored as {choice['dtype']}: errors of {choice['tokens']:,} tokens in deviations of a channel "
        f"are {errors}; {choice['bound']:.0%} is allowed"
    )
