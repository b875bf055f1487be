"""Names of classes that the user gives in a file, and labels numbered anew."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence

from stores.sources.fields.labels import RawLabel
from stores.sources.paths import SourceError

MAX_BYTES = 64 * 1024 * 1024


def apply_class_names(
    raw: Sequence[RawLabel], declared: list[str] | None, path: str | None, where: str
) -> tuple[Sequence[RawLabel], list[str] | None]:
    """Labels and names with those of the user's file in place: names of ids, or other names of the names in the data.

    A file whose lines are "n01440764 tench" gives the labels n01440764 … the names behind them.

    Raises:
        SourceError: labels that the file does not have.
    """
    if path is None:
        return raw, declared
    names = read_class_names(path)
    present = {label for label in raw if label is not None}
    if all(str(label).isdecimal() for label in present):
        return raw, list(names.values())
    ids = {key: number for number, key in enumerate(names)} | {name: n for n, name in enumerate(names.values())}
    missing = sorted(str(label) for label in present if str(label) not in ids)
    if missing:
        raise SourceError(
            f"{path}: expected a name for every class of {where}; received none for {missing[0]!r}"
            f"{f' and {len(missing) - 1} more' if missing[1:] else ''}; add them"
        )
    return [None if label is None else ids[str(label)] for label in raw], list(names.values())


def read_class_names(path: str) -> dict[str, str]:
    """What the labels are called, in the order of the ids: by id, by the label in the data, or by the name itself.

    A JSON list, a JSON object (id to name, or name to id), or a text with one class a line, where a first word such
    as n01440764 is the label in the data.

    Raises:
        SourceError: a file that cannot be read, or holds no names.
    """
    try:
        if not os.path.isfile(path):
            raise OSError("no regular file is there")
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path}: expected a file of class names in UTF-8; received: {error}; check the path"
        ) from error
    names = _from_json(text, path) if path.lower().endswith(".json") else _from_lines(text)
    if not names or len(text) > MAX_BYTES:
        raise SourceError(f"{path}: expected a class name on each line, or a JSON list; received none; check the file")
    return names


def _from_lines(text: str) -> dict[str, str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [re.fullmatch(r"(n\d{8})\s+(.+)", line) for line in lines]
    if lines and all(pairs):
        return {pair[1]: pair[2] for pair in pairs if pair}
    numbered = [re.fullmatch(r"(\d+)[\s,:;]+(.+)", line) for line in lines]
    if lines and all(numbered) and sorted(int(pair[1]) for pair in numbered if pair) == list(range(len(lines))):
        return {pair[1]: pair[2] for pair in sorted((p for p in numbered if p), key=lambda pair: int(pair[1]))}
    return {line: line for line in lines}


def _from_json(text: str, path: str) -> dict[str, str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: expected JSON; received text that is not: {error}") from error
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {name: name for name in value}
    if isinstance(value, dict) and all(isinstance(number, int) for number in value.values()):
        return {name: name for name in sorted(value, key=lambda name: value[name])}
    if isinstance(value, dict) and all(key.isdecimal() for key in value):
        ordered = sorted(value, key=int)
        return (
            {key: _name(value[key]) for key in ordered} if list(map(int, ordered)) == list(range(len(ordered))) else {}
        )
    return {str(key): _name(name) for key, name in value.items()} if isinstance(value, dict) else {}


def _name(value: object) -> str:
    """A class name; of a list, as in imagenet_class_index.json, the last."""
    return str(value[-1]) if isinstance(value, list) and value else str(value)


def contiguous(ids: Sequence[int | None], names: list[str] | None) -> tuple[list[int | None], list[str]]:
    """Labels numbered 0 … K - 1 in rising order, with the old numbers as names where there are no others."""
    used = sorted({label for label in ids if label is not None})
    numbers = {label: number for number, label in enumerate(used)}
    kept = [names[label] if names is not None and label < len(names) else str(label) for label in used]
    return [None if label is None else numbers[label] for label in ids], kept
