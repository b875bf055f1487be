"""The journeys of docs/architecture.md as (file, function) steps, and what the running code enters."""

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
# - [path](../path) `name` or `Class.name`
STEP = re.compile(r"^ *- \[([\w/.]+)\]\(\.\./([\w/.]+)\) `([\w.]+)`", re.MULTILINE)
JOURNEYS = dict(re.findall(r"^## Journey \((\w)\): [^\n]*\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL))
PACKAGES = ("stores", "fae", "jobs", "pipeline")


@contextmanager
def entered() -> Iterator[set[tuple[str, str]]]:
    """The file and the qualified name of each function of this project that any thread enters meanwhile."""
    found: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            found.add((frame.f_code.co_filename, frame.f_code.co_qualname))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        own = tuple(str(ROOT / package) for package in PACKAGES)
        files = {(file.removeprefix(f"{ROOT}/"), name) for file, name in found if file.startswith(own)}
        found.clear()
        found |= files


def not_entered(journey: str, found: set[tuple[str, str]]) -> list[str]:
    """The steps of a journey that no entered function is, or is within."""
    steps = {(file, name) for _, file, name in STEP.findall(JOURNEYS[journey])}
    return sorted(
        f"{file} {name}"
        for file, name in steps
        if not any(other == file and f"{one}.".startswith(f"{name}.") for other, one in found)
    )
