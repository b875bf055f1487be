"""Show how far a stage is: a bar on a terminal, plain lines otherwise, JSON lines for programs; always on stderr."""

import json
import math
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import rich.progress
from rich.console import Console

LINE_SECONDS = 10.0


class Progress:
    """A context that is called as `on_progress(done, total, facts)`, the callback that jobs take.

    The first call says where the work starts: rows done by an earlier run count neither in the rate nor in the time
    left. Without a terminal a line is written at most every 10 seconds, and a last one when the work ends or fails.
    """

    def __init__(
        self,
        description: str,
        unit: str = "pictures",
        total: int | None = None,
        *,
        json: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description, self.unit, self.total, self.json = description, unit, total, json
        self.clock = clock
        self.done = 0
        self.facts: dict[str, Any] = {}
        self._first: int | None = None  # what was done before this run
        self._written_done: int | None = None
        self._started = self._written = clock()
        self._bar: rich.progress.Progress | None = None

    def __call__(self, done: int, total: int | None, facts: dict[str, Any]) -> None:
        """Tell that `done` of `total` are finished; facts (a loss, a count) stay shown until they change."""
        if self._first is None or done < self.done:  # the first call, or a second round that counts from anew
            self._first, self._started = done, self.clock()
        self.done, self.total = done, total
        self.facts |= facts
        if self._bar is not None:
            self._update_bar()
        elif self.clock() - self._written >= LINE_SECONDS:
            self._write_line()

    def start(self, done: int) -> None:
        """Say what an earlier run has done already; only for those who then `advance`."""
        self(done, self.total, {})

    def advance(self, count: int = 1, **facts: Any) -> None:
        """Tell that `count` more are finished."""
        if self._first is None:
            self.start(0)
        self(self.done + count, self.total, facts)

    @property
    def per_second(self) -> float:
        """Rate of this run, without what was done before; 0 while nothing is."""
        seconds = self.clock() - self._started
        return (self.done - (self._first or 0)) / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time left at the present rate; None while there is no rate or no total."""
        rate = self.per_second
        return (self.total - self.done) / rate if self.total is not None and rate > 0 else None

    def line(self) -> str:
        """`extract  1,200/1,797 pictures  143/s  4 s left`, then the facts."""
        return f"{self.description}  {self._count()}  {self._pace()}".rstrip()

    def __enter__(self) -> "Progress":
        self._started = self._written = self.clock()
        if sys.stderr.isatty() and not self.json:
            self._bar = _bar()
            self._task = self._bar.add_task(self.description, total=self.total, note="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self.done > (self._first or 0) and self.done != self._written_done:
            self._write_line()

    def _count(self) -> str:
        return f"{self.done:,}{'' if self.total is None else f'/{self.total:,}'} {self.unit}"

    def _pace(self) -> str:
        left = self.seconds_left
        parts = [f"{format_number(self.per_second)}/s"] if self.per_second else []
        parts += [f"{format_seconds(left)} left"] if left else []
        parts += [f"{name}={format_fact(value)}" for name, value in self.facts.items()]
        return "  ".join(parts)

    def _update_bar(self) -> None:
        assert self._bar is not None
        note = f"{self._count()}  {self._pace()}"
        self._bar.update(self._task, completed=self.done, total=self.total, note=note)

    def _write_line(self) -> None:
        self._written, self._written_done = self.clock(), self.done
        print(json.dumps(self._record()) if self.json else self.line(), file=sys.stderr, flush=True)

    def _record(self) -> dict[str, Any]:
        left = self.seconds_left
        return {
            "progress": self.description,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "per_second": round(self.per_second, 3),
            "seconds_left": None if left is None else round(left, 1),
            "facts": {name: _json_fact(value) for name, value in self.facts.items()},
        }


def format_number(value: float) -> str:
    """Three figures or so: 1,234 · 143 · 14.3 · 0.52."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def format_seconds(seconds: float) -> str:
    """40 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def format_fact(value: Any) -> str:
    """A float in four figures, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _json_fact(value: Any) -> Any:
    """A number or text as it is; what JSON has no number for (NaN, infinities) as text."""
    return value if isinstance(value, (int, str)) or (isinstance(value, float) and math.isfinite(value)) else str(value)


def _bar() -> rich.progress.Progress:
    """A bar on stderr; output to a stdout that is the same terminal is printed above it."""
    columns = (
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(bar_width=24),
        rich.progress.TextColumn("{task.fields[note]}", markup=False),
    )
    return rich.progress.Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty())
