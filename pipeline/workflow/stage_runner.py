"""Run stages: is the result there, what changed, the work while others watch, and what became of it."""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from jobs.executors import OnProgress
from pipeline.artifacts import Artifact, State, scratch_folder
from pipeline.config import Recipe
from pipeline.console import Output, Watch, format_seconds, shown_path
from pipeline.stages import Stage, StageContext
from stores.backends import Location, is_url

Result = TypeVar("Result")


@dataclass
class Outcome:
    """What became of a stage: where its result lies, whether it was there already, and what made work necessary."""

    stage: str
    path: Location
    up_to_date: bool
    changes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] | None = None
    """What was understood of the images, where the stage reads any."""

    @classmethod
    def of(cls, stage: str, artifact: Artifact, data: dict[str, Any] | None = None) -> "Outcome":
        """Of an artifact before anything is done: it is up to date when it is complete."""
        up_to_date = artifact.state is State.COMPLETE
        return cls(stage, artifact.path, up_to_date, [] if up_to_date else artifact.changes(), data=data)

    def as_record(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        return {
            "stage": self.stage,
            "path": str(self.path),
            "up_to_date": self.up_to_date,
            "changes": self.changes,
            "seconds": round(self.seconds, 2),
            "metrics": self.metrics,
            **({} if self.data is None else {"data": self.data}),
        }


@dataclass
class StageRunner:
    """Runs the stages of a recipe below one root folder. With `dry_run` nothing is written and nothing is trained."""

    root: Path
    recipe: Recipe
    output: Output
    dry_run: bool = False
    watch: Watch = field(default_factory=Watch)
    outcomes: list[Outcome] = field(default_factory=list)
    stores: Location | None = None
    """Folder or URL of the stores, `root` when absent."""
    given: Collection[str] | None = None
    """The settings (`section.key`) that were given to a command without a recipe; the others are its defaults."""

    def do(self, stage: Stage[Result], *inputs: Any, **settings: Any) -> Result | None:
        """Make a stage's result where it is not complete; None when a dry run does not make it."""
        return self.do_all(stage, *inputs, **settings)[0]

    def do_all(self, stage: Stage[Result], *inputs: Any, **settings: Any) -> list[Result | None]:
        """`do` for a stage that makes several results in one pass."""
        with ExitStack() as stack:
            context = StageContext(
                *(self.root, self.recipe, self.output, self.dry_run),
                scratch=lambda: stack.enter_context(scratch_folder(self.root, self.dry_run)),
                stores=self.root if self.stores is None else self.stores,
            )
            job = stage.job(context, *stage.prepared(self.recipe, inputs), **settings)
            outcomes = [Outcome.of(stage.name, artifact, job.data) for artifact in job.artifacts]
            to_do = [outcome for outcome in outcomes if not outcome.up_to_date]
            results: Sequence[Result | None] | None = None
            for outcome in outcomes:
                if outcome.up_to_date:
                    self.note(outcome)
            if to_do:
                results = self.work(to_do, stage.spec.unit, job.run, job.folders)
            if results is None:
                results = [
                    job.open(artifact) if outcome.up_to_date else job.planned
                    for artifact, outcome in zip(job.artifacts, outcomes, strict=True)
                ]
        for outcome, result in zip(outcomes, results, strict=True):
            made = not outcome.up_to_date
            if result is not None and not (made and self.dry_run):
                outcome.metrics = stage.metrics(result, made)
                for line in stage.remarks(result) if made else []:
                    self.output.say(f"{outcome.stage}: {line}")
        return list(results)

    def work(
        self,
        outcomes: Sequence[Outcome],
        unit: str,
        make: Callable[[OnProgress], Result],
        folders: Sequence[Path] | None = None,
    ) -> Result | None:
        """Say what changed, then make the results of one stage while others watch; in a dry run only say it.

        Args:
            outcomes: Those of the results that are not complete.
            unit: What the progress counts.
            make: Does the work.
            folders: Folders that are filled on the way, when they are not the outcomes' own.
        """
        for outcome in outcomes:
            for line in outcome.changes:
                self.output.say(f"{outcome.stage}: changed: {line}")
            self._say_defaults(outcome)
        result, seconds = None, 0.0
        if not self.dry_run:
            started = time.perf_counter()
            own = [Path(outcome.path) for outcome in outcomes if not is_url(outcome.path)]
            watchers = self.watch.watchers(own if folders is None else folders)
            with self.output.progress(outcomes[0].stage, unit, watchers=watchers) as report:
                result = make(report)
            seconds = time.perf_counter() - started
        for outcome in outcomes:
            outcome.seconds = seconds
            self.note(outcome)
        return result

    def _say_defaults(self, outcome: Outcome) -> None:
        """Say which changed settings nobody asked for: the run before had a recipe perhaps, and this one has none."""
        if self.given is None:
            return
        changed = {line.partition(":")[0] for line in outcome.changes}
        sections = {section.name for section in fields(Recipe)}
        unasked = sorted(key for key in changed - set(self.given) if key.partition(".")[0] in sections)
        if unasked:
            names = ", ".join(key.partition(".")[2] for key in unasked)
            advice = "with --config RECIPE a recipe's count"
            self.output.say(f"{outcome.stage}: not given, so the command's defaults count: {names}; {advice}")

    def note(self, outcome: Outcome) -> None:
        """Keep an outcome, and say it."""
        self.outcomes.append(outcome)
        done = "would be made" if self.dry_run else f"done in {format_seconds(outcome.seconds)}"
        where = shown_path(outcome.path, self.root)
        self.output.say(f"{outcome.stage}: {'up to date' if outcome.up_to_date else done}: {where}")
