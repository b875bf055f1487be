"""Show how far a stage is: a live table on a terminal, plain lines otherwise, JSON lines for programs; on stderr."""

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live

from pipeline.console.formats import format_facts, format_number, format_seconds
from pipeline.console.live_table import live_table
from pipeline.console.printable import printable
from pipeline.console.throughput import Throughput

LINE_SECONDS = 10.0
NOTIFY_SECONDS = 1.0

Record = dict[str, Any]
# Receives a record at most once a second, and a last one whose "state" is not "running".
Watcher = Callable[[Record], None]
RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"


class Progress:
    """A context that is called as `on_progress(done, total, facts)`, the callback that jobs take.

    The first call says where the work starts: rows done by an earlier run count neither in the rates nor in the time
    left. Facts are numbers or text, or mappings of parts of a whole. Without a terminal a line is written at most every
    10 seconds, with the numbers that came since the line before, and a last one when the work ends or fails. Lines and
    watchers come every 10 seconds even when nothing is done, so that slow work can be told from none.
    """

    def __init__(
        self,
        description: str,
        unit: str = "images",
        total: int | None = None,
        *,
        json: bool = False,
        clock: Callable[[], float] = time.monotonic,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self.description, self.unit, self.total, self.json = description, unit, total, json
        self.clock, self.watchers = clock, watchers
        self.done = 0
        self.facts: dict[str, Any] = {}
        self.throughput = Throughput(clock())
        self._begun = False
        self._unwritten: set[str] = set()  # names of facts that came since the last line
        self._written_done: int | None = None
        self._written = self._advanced = clock()
        self._notified: float | None = None
        self._live: Live | None = None
        self._lock = threading.RLock()  # the heart beats in a thread of its own
        self._ended = threading.Event()

    def __call__(self, done: int, total: int | None, facts: Mapping[str, Any]) -> None:
        """Tell that `done` of `total` are finished; facts (a loss, a count) hold until they change or are None.

        A new `phase`, such as a preview, is written at once: nothing else may come for minutes.
        """
        with self._lock:
            now = self.clock()
            if not self._begun or done < self.done:  # the first call, or a second round that counts from anew
                self._begun = True
                self.throughput.start(now, done)
            else:
                self.throughput.add(now, done)
            if done == 0 < self.done:  # what was said of the round before holds no longer
                self.facts = {}
            if done != self.done:
                self._advanced = now
            self.done, self.total = done, total
            self._unwritten |= set(facts)
            misses = self._misses
            self.facts = {name: value for name, value in {**self.facts, **facts}.items() if value is not None}
            if misses and not self._misses:  # what comes now is faster
                self.throughput.start(now, done)
            if self._live is None and (facts.get("phase") or now - self._written >= LINE_SECONDS):
                self._write_line()
            if self._notified is None or now - self._notified >= NOTIFY_SECONDS:
                self._notify(RUNNING)

    def start(self, done: int) -> None:
        """Say what an earlier run has done already; only for those who then `advance`."""
        self(done, self.total, {})

    def advance(self, count: int = 1, **facts: Any) -> None:
        """Tell that `count` more are finished."""
        if not self._begun:
            self.start(0)
        self(self.done + count, self.total, facts)

    @property
    def per_second(self) -> float:
        """Rate of this run, without what was done before; 0 while nothing is."""
        return self.throughput.per_second(self.clock())

    @property
    def seconds_left(self) -> float | None:
        """Time left at that rate; None while there is no rate or no total, or rows are to be encoded on the way."""
        return None if self._misses else self.throughput.seconds_left(self.clock(), self.total)

    @property
    def _misses(self) -> bool:
        """Whether a training encodes rows on the way, which its steps wait for."""
        return bool(self.facts.get("rows_missing"))

    def line(self) -> str:
        """`extract  1,200/1,797 images  143/s  4 s left`, then texts that hold, and numbers not written before."""
        left = self.seconds_left
        parts = [self.description, f"{self.done:,}{'' if self.total is None else f'/{self.total:,}'} {self.unit}"]
        parts += [f"{format_number(self.per_second)}/s"] if self.per_second else []
        parts += [f"{format_seconds(left)} left"] if left else []
        if self.done == self._written_done and not self._unwritten:
            parts.append(f"for {format_seconds(self.clock() - self._advanced)}")
        shown = {name: value for name, value in self.facts.items() if name in self._unwritten or isinstance(value, str)}
        return printable("  ".join(parts + format_facts(shown)))

    def record(self, state: str = RUNNING) -> Record:
        """All of it as JSON values."""
        with self._lock:
            now, left = self.clock(), self.seconds_left
            return {
                "progress": self.description,
                "state": state,
                "done": self.done,
                "total": self.total,
                "unit": self.unit,
                "per_second": round(self.per_second, 3),
                "per_second_now": round(self.throughput.per_second_now(now), 3),
                "seconds_left": None if left is None else round(left, 1),
                "facts": {name: _json_fact(value) for name, value in self.facts.items()},
            }

    def __enter__(self) -> "Progress":
        self.throughput.start(self.clock(), 0)
        self._written = self._advanced = self.clock()
        if sys.stderr.isatty() and not self.json:
            # What is printed to a stdout that is the same terminal appears above the table.
            console = Console(stderr=True)
            show = Live(
                get_renderable=lambda: live_table(self.record()),
                console=console,
                refresh_per_second=4,
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=False,
            )
            self._live = show
            show.start()
        if self.watchers or self._live is None:
            threading.Thread(target=self._beat, name="progress", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self.done > self.throughput.first and self.done != self._written_done:
            self._write_line()
        with self._lock:
            self._notify(DONE if error is None else FAILED if isinstance(error, Exception) else STOPPED, error)

    def _beat(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            with self._lock:
                if self._ended.is_set():
                    return
                if self.watchers:
                    self._notify(RUNNING)
                if self._live is None and self._begun and self.clock() - self._written >= LINE_SECONDS:
                    self._write_line()

    def _notify(self, state: str, error: BaseException | None = None) -> None:
        self._notified = self.clock()
        record = self.record(state)
        if error is not None:
            record["error"] = f"{type(error).__name__}: {error}".rstrip(": ")
        for watcher in self.watchers:
            # Work is not stopped because it cannot be watched, by a full disk for example.
            with suppress(OSError):
                watcher(record)

    def _write_line(self) -> None:
        print(json.dumps(self.record()) if self.json else self.line(), file=sys.stderr, flush=True)
        self._written, self._written_done = self.clock(), self.done
        self._unwritten.clear()


def _json_fact(value: Any) -> Any:
    """A number or text as it is, mappings too; what JSON has no number for (NaN, infinities) as text."""
    if isinstance(value, Mapping):
        return {str(name): _json_fact(part) for name, part in value.items()}
    return value if isinstance(value, (int, str)) or (isinstance(value, float) and math.isfinite(value)) else str(value)
