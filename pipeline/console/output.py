"""What a command tells a person (text and tables) or a program (one JSON object on stdout)."""

import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.console.printable import json_text, printable
from pipeline.console.progress import Progress, Watcher

PIPE_WIDTH = 10_000  # only a terminal has a width to keep to; a file or a pipe gets whole cells


class Output:
    """Text for people; with `json` one JSON object on stdout, and messages as JSON lines on stderr.

    Tables are for people only, `result` is for programs only, so a command calls both.
    """

    def __init__(self, json: bool = False) -> None:
        self.json = json
        self._stdout = sys.stdout
        self._finished = False

    def say(self, text: str, style: str = "") -> None:
        """Print a line, styled on a terminal (`bold`, `green`, …); lines are never wrapped, so paths stay whole."""
        if self.json:
            print(json_text({"message": text}), file=sys.stderr, flush=True)
        else:
            _print(Console(), printable(text), style=style or None, soft_wrap=True)

    def table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print records with the same keys as a table; with --json nothing, since `result` holds them."""
        if self.json or not rows:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name, value in rows[0].items():
            table.add_column(name, justify="right" if _is_number(value) else "left", overflow="fold")
        for row in rows:
            table.add_row(*[_cell(value) for value in row.values()])
        _print(Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH), table)

    def result(self, record: Mapping[str, Any]) -> None:
        """Print the command's one result as JSON; for people nothing, they have read it."""
        assert not self._finished, "a command has one result"
        self._finished = True
        if self.json:
            print(json_text(plain(record), indent=1), file=self._stdout, flush=True)

    def line(self, record: Mapping[str, Any]) -> None:
        """Print one of several results as a line of JSON; for people nothing."""
        if self.json:
            print(json_text(plain(record)), file=self._stdout, flush=True)

    def progress(
        self, stage: str, unit: str = "images", total: int | None = None, watchers: Sequence[Watcher] = ()
    ) -> Progress:
        """A progress context that is an `on_progress(done, total, facts)` callback."""
        return Progress(stage, unit, total, json=self.json, watchers=watchers)

    @contextmanager
    def keep_stdout_clean(self) -> Iterator[None]:
        """With --json send what libraries print to stderr, so that stdout stays one JSON object."""
        if not self.json:
            yield
            return
        with redirect_stdout(sys.stderr):
            yield

    @contextmanager
    def say_warnings(self) -> Iterator[None]:
        """Print warnings as messages, a line each: where in the code one was given helps nobody at a command line."""

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            kind = "warning" if category is UserWarning else category.__name__
            self.say(f"{kind}: {message}", "yellow")

        with warnings.catch_warnings():
            warnings.showwarning = show
            yield


def plain(value: Any) -> Any:
    """The value as JSON can hold it: paths as text, numpy numbers as numbers, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(console: Console, content: str | Table, **options: Any) -> None:
    """Render, then print: only what goes through `print` appears above a progress bar, and without trailing blanks."""
    with console.capture() as captured:
        console.print(content, markup=False, highlight=False, **options)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()), flush=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if _is_number(value):
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return printable(str(value))
