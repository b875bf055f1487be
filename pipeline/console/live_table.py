"""The table that a terminal shows while a stage works, drawn from a record of its progress."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.console.formats import format_facts, format_number, format_seconds, format_shares

BAR_WIDTH = 24


def live_table(record: Mapping[str, Any]) -> RenderableType:
    """A bar with counts and the time left; below it rates, shares of workers and of parts of the work, other facts."""
    header = Table.grid(padding=(0, 2))
    total, left = record["total"], record["seconds_left"]
    count = f"{record['done']:,}{'' if total is None else f'/{total:,}'} {record['unit']}"
    bar = ProgressBar(total=total, completed=record["done"], width=BAR_WIDTH)
    header.add_row(Text(record["progress"]), bar, count, f"{format_seconds(left)} left" if left else "")
    rows = Table.grid(padding=(0, 2))
    for name, text in _lines(record):
        rows.add_row(f"  {name}", Text(text))
    return Group(header, rows)


def _lines(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = record["facts"]
    rates = f"now {format_number(record['per_second_now'])}  average {format_number(record['per_second'])}"
    lines = [(f"{record['unit']}/s", rates)] if record["per_second"] else []
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            lines.append((name.replace("_", " "), format_shares(value)))
    rest = "  ".join(format_facts(facts))
    return [*lines, ("", rest)] if rest else lines
