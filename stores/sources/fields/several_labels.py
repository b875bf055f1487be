"""Labels in lists: of one class, which is the label, or of several, which are none."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from stores.sources.fields.labels import RawLabel, parsed_list
from stores.sources.fields.problems import Problems

# Parts of the keys of objects with a place in the image ("box2d", "polygon", "segmentation").
_WHOLE = re.compile(r"\d{1,9},0+")
BOX_MARKS = ("box", "poly", "points", "segment", "mask", "rle")


def are_lists_of_labels(values: Sequence[object]) -> bool:
    """Whether the values of a column are lists of labels: not all of one length with a single 1 among zeros."""
    present = [value for value in values if value not in (None, "")]
    lists = [found for value in present if (found := as_list(value)) is not None]
    if not lists or len(lists) < len(present):
        return False
    return not all(is_one_hot(value) for value in lists) or len(set(map(len, lists))) > 1


def only_label(value: object, where: str, problems: Problems) -> object:
    """The label in a list of one; None, with the image counted, where there are several, which no row can have."""
    found = as_list(value)
    if found is None:
        return value
    found = [one for one in found if not _is_object(one)]
    labels = {json.dumps(one, sort_keys=True, default=str): one for one in found if one not in (None, "")}
    if len(labels) > 1:
        problems.add("image of several classes: it has no label", f"{where}: {', '.join(map(str, found[:5]))}")
    return next(iter(labels.values())) if len(labels) == 1 else None


def _is_object(value: object) -> bool:
    """Whether a value is an object in the image, with a box or an outline."""
    return isinstance(value, dict) and any(mark in str(key).lower() for key in value for mark in BOX_MARKS)


def without_joined(raw: Sequence[RawLabel], where: str, problems: Problems) -> list[RawLabel]:
    """The labels without texts of several ("cat|dog", "7 813 9"), each of which is counted.

    A text is one of several where its parts are labels of other images, or lie between bars where not all have as many,
    or where all labels are numbers or rows of them.
    """
    texts = {label for label in raw if isinstance(label, str)}
    if texts and all(map(_WHOLE.fullmatch, texts)):  # "2,0" of tables with semicolons
        return [int(label.split(",")[0]) if isinstance(label, str) else label for label in raw]
    joined = _joined(texts)
    for label in raw if joined else ():
        if label in joined:
            problems.add("image of several classes: it has no label", f"{where}: {label}")
    return [None if label in joined else label for label in raw] if joined else list(raw)


def _joined(names: set[str]) -> set[str]:
    """The texts that are several labels."""
    numbers = {name for name in names if not name.isdecimal()}
    if numbers and all(re.fullmatch(r"[0-9]+([ ,;|]+[0-9]+)*", name) for name in names):
        return numbers
    found = set[str]()
    for separator in "|;,":
        parts = _parts(names, separator)
        if separator == "|" and (len(set(map(len, parts.values()))) > 1 or len(parts) < len(names)):
            found |= parts.keys()
        found |= _of_others(parts, names)
    return found


def may_be_several(names: set[str]) -> list[str]:
    """The names of classes that are names of other ones, with a space or a plus between them, which may be one, too."""
    return sorted(_of_others(_parts(names, "|;,+ "), names))


def _parts(names: set[str], marks: str) -> dict[str, list[str]]:
    """The parts of the names that have one of some marks."""
    pattern, apart = re.compile(rf"\s*[{re.escape(marks)}]\s*"), set(marks)
    return {name: pattern.split(name) for name in names if not apart.isdisjoint(name)}


def _of_others(parts: dict[str, list[str]], names: set[str]) -> set[str]:
    return {name for name, several in parts.items() if names.issuperset(several)}


def as_list(value: object) -> list[object] | None:
    """A list, also one that is written as text ("['cat', 'dog']"), or None."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        value = parsed_list(value)
    return value if isinstance(value, list) else None


def is_one_hot(value: Sequence[object]) -> bool:
    """Whether a list is zeros with a single 1."""
    return len(value) > 1 and value.count(1) == 1 and value.count(0) == len(value) - 1
