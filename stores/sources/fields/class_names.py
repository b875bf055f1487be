"""Names of classes that the user gives in a file, and labels numbered anew."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence

from stores.sources.fields.labels import RawLabel
from stores.sources.paths import SourceError

MAX_BYTES = 64 * 1024 * 1024
# Ids may be so many times as many as names: a label may be any 32-bit number.
MAX_GAPS = 1000
# Names found beside labels are a list when the largest id is at most so many times their number, or at most `FEW`.
MAX_SPREAD, FEW = 10, 1000


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
        return raw, names_by_id(names, path)
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
    as n01440764 is the label in the data, and a number before or behind all of them is the id.

    Raises:
        SourceError: a file that cannot be read, or holds no names.
    """
    try:
        if not os.path.isfile(path):
            raise OSError("no regular file is there")
        with open(path, "rb") as file:
            return parse_class_names(file.read(MAX_BYTES + 1), path)
    except OSError as error:
        raise SourceError(
            f"{path}: expected a file of class names in UTF-8; received: {error}; check the path"
        ) from error


def parse_class_names(content: bytes, path: str) -> dict[str, str]:
    """The names in the content of a file, as `read_class_names` gives them.

    Raises:
        SourceError: it holds no names.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path}: expected a file of class names in UTF-8; received: {error}; check the path"
        ) from error
    names = _from_json(text, path) if path.lower().endswith(".json") else _from_lines(text)
    if not names or len(text) > MAX_BYTES:
        raise SourceError(f"{path}: expected a class name on each line, or a JSON list; received none; check the file")
    return names


def names_by_id(names: dict[str, str], path: str) -> list[str]:
    """The names in a list by id; ids between others that have none are called by their number.

    Raises:
        SourceError: ids that lie too far apart for a list.
    """
    if not has_ids(names):
        return list(names.values())
    largest = max(map(int, names))
    if largest > MAX_GAPS * len(names):
        raise SourceError(
            f"{path}: expected ids without large gaps; received {len(names)} names with ids up to {largest}; number "
            "the classes anew"
        )
    return [names.get(str(number), str(number)) for number in range(largest + 1)]


def has_ids(names: dict[str, str]) -> bool:
    """Whether names are given by the ids of the classes, not by their order."""
    return all(key.isdecimal() for key in names) and any(key != name for key, name in names.items())


def _from_lines(text: str) -> dict[str, str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    header = len(lines) > 2 and not re.search(r"\d", lines[0])
    return _from_list(lines, lines[1:] if header else lines)


def _from_list(lines: list[str], without_header: list[str]) -> dict[str, str]:
    """Names of lines; a header is known by the numbers that all the other lines have."""
    pairs = [re.fullmatch(r"(n\d{8})\s+(.+)", line) for line in lines]
    if lines and all(pairs):
        return {pair[1]: pair[2] for pair in pairs if pair}
    before = [re.fullmatch(r"(?P<id>\d{1,9})[\s,:;.)]+(?P<name>.+)", line) for line in without_header]
    behind = [re.fullmatch(r"(?P<name>.+?)[\s,:;]+(?P<id>\d{1,9})", line) for line in without_header]
    return _numbered(before) or _numbered(behind) or {line: line for line in lines}


def _numbered(found: Sequence[re.Match[str] | None]) -> dict[str, str]:
    """Names by id, where every line has both and the ids rise; they begin at 0 or 1."""
    pairs = [(int(pair["id"]), pair["name"]) for pair in found if pair]
    ids = [number for number, _ in pairs]
    if len(pairs) < len(found) or not pairs or ids != sorted(set(ids)) or ids[0] > 1:
        return {}
    return {str(number): name for number, name in pairs}


def _from_json(text: str, path: str) -> dict[str, str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: expected JSON; received text that is not: {error}") from error
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {name: name for name in value}
    if not isinstance(value, dict):
        return {}
    if all(isinstance(number, int) for number in value.values()) and len(set(value.values())) == len(value):
        return {str(value[name]): name for name in sorted(value, key=lambda name: int(value[name]))}
    if all(key.isdecimal() for key in value):
        return {str(int(key)): _name(value[key]) for key in sorted(value, key=int)}
    return {str(key): _name(name) for key, name in value.items()}


def _name(value: object) -> str:
    """A class name; of a list, as in imagenet_class_index.json, the last."""
    return str(value[-1]) if isinstance(value, list) and value else str(value)


def one_to_one_names(pairs: set[tuple[int, str]], largest: int) -> list[str] | None:
    """Names by id up to the largest, when each id has one name of its own; ids without images are their own names."""
    names = dict(pairs)
    one_to_one = len(names) == len(pairs) == len(set(names.values()))
    if not names or not one_to_one or "" in names.values() or largest > max(FEW, MAX_SPREAD * len(names)):
        return None
    return [names.get(number, str(number)) for number in range(largest + 1)]


def contiguous(ids: Sequence[int | None], names: list[str] | None) -> tuple[list[int | None], list[str]]:
    """Labels numbered 0 … K - 1 in rising order, with the old numbers as names where there are no others."""
    used = sorted({label for label in ids if label is not None})
    numbers = {label: number for number, label in enumerate(used)}
    kept = [names[label] if names is not None and label < len(names) else str(label) for label in used]
    return [None if label is None else numbers[label] for label in ids], kept
