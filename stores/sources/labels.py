"""Labels and captions as people write them (table columns, sibling files, JSON) and the ids they become."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stores.sources.paths import SPLITS, SourceError

RawLabel = int | str | None

FILE_COLUMNS = ("file_name", "file", "filename", "path", "image")
LABEL_COLUMNS = ("label", "class", "class_index")
CAPTION_COLUMNS = ("caption", "captions", "text")
MAX_LABEL = 2**31 - 1  # labels are stored as int32


def first_present(record: Mapping[str, object], columns: Sequence[str]) -> object:
    """The value of the first of `columns` that the record has and that is not empty, else None."""
    return next((record[name] for name in columns if record.get(name) not in (None, "")), None)


def parse_label(value: object, where: str) -> RawLabel:
    """A label as written: an integer, a class name, or None (empty, NaN, or negative as in unlabeled test sets)."""
    if isinstance(value, float):
        value = int(value) if value.is_integer() else (None if value != value else value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return None if value is None or value < 0 else value
    if isinstance(value, str):
        text = value.strip()
        return None if not text or re.fullmatch(r"-[0-9]+", text) else text
    raise SourceError(f"{where}: expected a label that is an integer or a class name, found {value!r}")


def parse_captions(value: object, where: str) -> list[str] | None:
    """Captions as written: one text or a list of texts; empty ones are left out, none at all is None."""
    texts = [value] if isinstance(value, str) else value
    if texts is None:
        return None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise SourceError(f"{where}: expected a caption or a list of captions, found {value!r}")
    return [text.strip() for text in texts if text.strip()] or None


def parse_split(value: object, where: str) -> str | None:
    """A split as written ("train", "val", "validation", "test", …) as "train", "val" or, when empty, None."""
    if value in (None, ""):
        return None
    split = SPLITS.get(value.strip().lower()) if isinstance(value, str) else None
    if split is None:
        raise SourceError(f"{where}: expected a split out of {', '.join(SPLITS)}, found {value!r}")
    return split


def resolve_labels(
    raw: Sequence[RawLabel], declared: list[str] | None, where: str
) -> tuple[list[int | None], list[str] | None]:
    """Label ids and class names: integers (also written as text) stay as they are, names are numbered in sorted order.

    `declared` are names the source itself gives to its integers. Raises `SourceError` for integers mixed with names,
    an integer above int32, or one without a declared name.
    """
    present = {label for label in raw if label is not None}
    ids = _as_integers(present)
    if ids is not None:
        _check_range(ids, declared, where)
        return [None if label is None else ids[label] for label in raw], declared
    names = sorted(label for label in present if isinstance(label, str))
    if len(names) < len(present):
        number = next(label for label in present if isinstance(label, int))
        raise SourceError(
            f"{where}: expected labels that are all integers or all names, found {number} and {names[0]!r}"
        )
    numbers = {name: number for number, name in enumerate(names)}
    return [None if label is None else numbers[str(label)] for label in raw], names


def _as_integers(present: set[int | str]) -> dict[int | str, int] | None:
    """Each label's integer, or None when some is a name or two texts ("1", "01") would be one integer."""
    if not all(isinstance(label, int) or re.fullmatch(r"[0-9]{1,10}", label) for label in present):
        return None
    ids = {label: int(label) for label in present}
    texts = [label for label in present if isinstance(label, str)]
    all_texts = len(texts) == len(present)
    fits = all(number <= MAX_LABEL for number in ids.values())
    # Folders named 19990101123 or "1" beside "01" are names that happen to be digits.
    return None if all_texts and (len(set(ids.values())) < len(texts) or not fits) else ids


def _check_range(ids: Mapping[int | str, int], declared: list[str] | None, where: str) -> None:
    largest = max(ids.values(), default=0)
    if largest > MAX_LABEL:
        raise SourceError(f"{where}: expected label ids up to {MAX_LABEL}, found {largest}")
    if declared is not None and largest >= len(declared):
        raise SourceError(
            f"{where}: expected label ids below {len(declared)}, the number of its class names, found {largest}"
        )
