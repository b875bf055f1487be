"""Making a stage's result: is it there, why not, the work while others watch, and what became of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from jobs.executors import OnProgress
from jobs.runs import RunFolder, siblings
from pipeline.config import Recipe
from pipeline.console import Output, Watch
from stores import Store, StoreWriter, explain_difference, find_manifests

T = TypeVar("T")


@dataclass
class Outcome:
    """What became of a stage: where its result lies, whether work was done, and what made it needed."""

    stage: str
    path: Path
    up_to_date: bool
    why: list[str] = field(default_factory=list)
    seconds: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] | None = None
    """What was understood of the images, where the stage reads any."""

    def as_record(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        return {
            "stage": self.stage,
            "path": str(self.path),
            "up_to_date": self.up_to_date,
            "why": self.why,
            "seconds": round(self.seconds, 2),
            "metrics": self.metrics,
            **({} if self.data is None else {"data": self.data}),
        }


@dataclass
class StageRunner:
    """Makes what a recipe lacks below one root folder. With `dry_run` nothing is written and nothing is trained."""

    root: Path
    recipe: Recipe
    output: Output
    dry_run: bool = False
    watch: Watch = field(default_factory=Watch)
    outcomes: list[Outcome] = field(default_factory=list)

    def store(self, stage: str, writer: StoreWriter, make: Callable[[OnProgress], Store]) -> Store | None:
        """`stores` of one."""
        return self.stores(stage, [writer], lambda report: [make(report)])[0]

    def stores(
        self, stage: str, writers: Sequence[StoreWriter], make: Callable[[OnProgress], list[Store]]
    ) -> list[Store | None]:
        """The stores, made together when any is unfinished; None for those that a dry run does not make."""
        outcomes = [Outcome(stage, writer.path, writer.complete, _why(writer)) for writer in writers]
        to_do = [outcome for outcome in outcomes if not outcome.up_to_date]
        for outcome in outcomes:
            if outcome.up_to_date:
                self.note(outcome)
        stores: Sequence[Store | None] | None = self._work_all(to_do, "images", make) if to_do else None
        if stores is None:
            return [writer.finalize() if writer.complete else None for writer in writers]
        for outcome, store in zip(outcomes, stores, strict=True):
            if store is not None and not outcome.up_to_date:
                rejected = store.num_rows - len(store.rows())
                outcome.metrics = {"rows": store.num_rows, "rejected": rejected, "content_id": store.content_id}
        return list(stores)

    def run(
        self,
        stage: str,
        kind: str,
        name: str,
        ingredients: dict[str, Any],
        make: Callable[[OnProgress], RunFolder],
        folders: Sequence[Path] = (),
    ) -> RunFolder | None:
        """The trained run of these ingredients; None when a dry run does not make it."""
        path = RunFolder.locate(self.root, kind, name, ingredients)
        if (path / "run.json").exists() and (run := RunFolder.open(path)).complete:
            self.note(Outcome(stage, path, True, metrics=run.record.metrics))
            return run
        others = [] if path.exists() else siblings(self.root, kind, name)
        newest = max(others, key=lambda run: run.record.created_unix_seconds, default=None)
        why = explain_difference(newest.record.ingredients, ingredients) if newest else []
        outcome = Outcome(stage, path, False, why)
        run_or_none = self.work(outcome, "steps", make, folders)
        if run_or_none is not None:
            outcome.metrics = run_or_none.record.metrics
        return run_or_none

    def work(
        self, outcome: Outcome, unit: str, make: Callable[[OnProgress], T], folders: Sequence[Path] = ()
    ) -> T | None:
        """Make the result of one outcome, in folders of these `folders` when they are not its own."""
        return self._work_all([outcome], unit, make, folders)

    def _work_all(
        self, outcomes: Sequence[Outcome], unit: str, make: Callable[[OnProgress], T], folders: Sequence[Path] = ()
    ) -> T | None:
        """Say why, then make the results of one stage while others watch; in a dry run only say it.

        `folders` are the folders that it makes when they are not the outcomes' own.
        """
        for outcome in outcomes:
            for line in outcome.why:
                self.output.say(f"{outcome.stage}: changed: {line}")
        result, seconds = None, 0.0
        if not self.dry_run:
            started = time.perf_counter()
            watchers = self.watch.watchers(folders or [outcome.path for outcome in outcomes])
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
            if outcome.up_to_date
            else "would be made"
            if self.dry_run
            else f"done in {outcome.seconds:.1f} s"
        )
        self.output.say(f"{outcome.stage}: {state}: {outcome.path}")


def _why(writer: StoreWriter) -> list[str]:
    """How a store that is not there yet differs from the newest one of its name."""
    others = [] if writer.complete or writer.begun else find_manifests(writer.path.parent, writer.manifest.name)
    return explain_difference(others[-1][1].ingredients, writer.manifest.ingredients) if others else []
