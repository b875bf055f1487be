"""Whether the values of a column that is called like one of splits are splits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from stores.sources.fields.labels import NO_VALUE
from stores.sources.fields.splits import NUMBERED, parse_split_word, split_of_folder
from stores.sources.summary import DataWarning
from stores.sources.tables.columns import plain

# Columns in which 0, 1 and 2 are train, val and test; folds, sets and sources are numbered, too.
NUMBERED_NAMES = frozenset(("split", "splits", "partition", "partitions"))
_NUMBER = re.compile(r"-?\d+")


@dataclass(frozen=True)
class NoSplits:
    """A column that is called like one of splits and has other values.

    Attributes:
        column: its name.
        values: the first of them, sorted.
        reason: why they are none; "" where nothing in them looks like a split.
    """

    column: str
    values: tuple[str, ...]
    reason: str

    def warning(self, path: str) -> DataWarning:
        """What is said of the column of a table at a path."""
        message = f"{path}: the column {self.column!r} ({', '.join(self.values)}) is not read as a split"
        return DataWarning(f"{message}: {self.reason}", "split_column", self.column)


def has_numbers(values: Iterable[object]) -> bool:
    """Whether some of the values are whole numbers."""
    return any(map(_NUMBER.fullmatch, _texts(values)))


def no_splits(column: str, values: Iterable[object]) -> NoSplits | None:
    """Why the values of a column are no splits, or None where they are.

    Numbers are splits where all values are 0, 1 or 2, and 0 is one of them, in a column called split or partition.
    Other columns ("set", "dataset", "fold") must have whole names of splits alone: "train", not "lab test".

    Args:
        column: its name.
        values: all of them, or the first.
    """
    texts = _texts(values)
    numbers = {text for text in texts if _NUMBER.fullmatch(text)}
    shown = (*sorted(texts, key=lambda text: (len(text), text))[:4], *(("…",) if len(texts) > 4 else ()))
    named = plain(column) in NUMBERED_NAMES
    if numbers and not (named and texts == numbers <= NUMBERED.keys() and "0" in numbers):
        return NoSplits(column, shown, "numbers are splits where they are 0, 1 and 2 in a column called split")
    whole = {text for text in texts if split_of_folder(text)}
    if numbers or whole == texts or (named and any(map(parse_split_word, texts))):
        return None
    return NoSplits(column, shown, "not all of its values are names of splits" if whole else "")


def _texts(values: Iterable[object]) -> set[str]:
    """The values as texts, 2.0 as "2", without empty ones."""
    texts = {re.sub(r"\.0$", "", str(value).strip()) for value in set(map(_hashable, values)) if value is not None}
    return {text for text in texts if text.lower() not in NO_VALUE}


def _hashable(value: object) -> object:
    return int(value) if isinstance(value, bool) else value if isinstance(value, str | int | float) else str(value)
