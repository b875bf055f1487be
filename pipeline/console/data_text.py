"""What was understood of a data set, as lines for a person, from the record that a manifest and --json hold."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from jobs.config import DataConfig, format_ids

MOST_CLASSES, MOST_KINDS, MOST_ID_CHARACTERS = 10, 8, 48
INDENT, NAME_WIDTH = "  ", 10


def data_lines(record: Mapping[str, Any]) -> list[str]:
    """The lines of a record that `jobs.extraction.data_record` made."""
    held = f" in {_count(record['containers'], record['container'] + ' file')}" if record.get("containers") else ""
    lines = [f"data: {_count(record['images'], 'image')}{held}: {record['layout']} ({record['description']})"]
    parts = {
        "classes": _classes(record),
        "labels": f"{record['labeled']:,} labeled, {record['unlabeled']:,} unlabeled",
        "captions": _captions(record),
        "splits": _splits(record["splits"]),
        "sizes": _sizes(record.get("image_sizes")),
        "not used": _unused(record),
    }
    lines += [_line(name, text) for name, text in parts.items() if text]
    lines += [_line("table", _table(table)) for table in record.get("tables", ())]
    lines += [_line("problem", _problem(problem)) for problem in record.get("problems", ())]
    return lines


def warning_lines(record: Mapping[str, Any]) -> list[str]:
    """What looks wrong, each with the option that corrects it."""
    return [f"warning: {_warning(warning)}" for warning in record.get("warnings", ())]


def option_text(key: str, value: str | None) -> str:
    """A field of the section `data` as its option: `--labels FILE`, `--holdout 0.1`, `--no-follow-links`."""
    rule = next(part for part in fields(DataConfig) if part.name == key)
    flag = rule.metadata["flag"] or "--" + key.replace("_", "-")
    if value in ("true", "false"):
        return flag if value == "true" else f"--no-{flag[2:]}"
    if value is None and not rule.metadata["metavar"]:
        return f"{flag} or --no-{flag[2:]}"
    return f"{flag} {shlex.quote(value) if value is not None else rule.metadata['metavar']}"


def _line(name: str, text: str) -> str:
    return f"{INDENT}{name:<{NAME_WIDTH}}{text}"


def _splits(counts: Mapping[str, int]) -> str:
    """The splits with their rows; of a set that has none, not the number of its images again."""
    if counts.keys() == {""}:
        return "none given"
    return ", ".join(f"{split or 'none given'} {count:,}" for split, count in counts.items())


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _classes(record: Mapping[str, Any]) -> str:
    classes = [one for one in record["classes"] if one["images"]]
    if not classes:
        return "none"
    shown = ", ".join(_class(one) for one in classes[:MOST_CLASSES])
    more = f", … {classes[-1]['name'] or classes[-1]['id']}" if len(classes) > MOST_CLASSES else ""
    missing = record.get("ids_without_images") or []
    text = f"{len(classes):,}: {shown}{more}"
    if missing:
        ids = format_ids(missing)
        ids = ids if len(ids) <= MOST_ID_CHARACTERS else ids[:MOST_ID_CHARACTERS].rpartition(",")[0] + ",…"
        text += f"; ids {classes[0]['id']} … {classes[-1]['id']}, ids without images: {ids}"
    return text


def _class(one: Mapping[str, Any]) -> str:
    name = f"{one['id']}" if one["name"] is None else f"{one['id']} {one['name']}"
    return f"{name} ({one['images']:,})"


def _captions(record: Mapping[str, Any]) -> str:
    if not record["captions"]:
        return "none"
    lines = {True: ", one a line", False: ", a text is one", None: ""}[record.get("captions_per_line")]
    captioned, captions = record["captioned"], record["captions"]
    some = f"{captioned:,} of {_count(record['images'], 'image')} captioned"
    return f"{some}, {_count(captions, 'caption')} in all ({captions / captioned:.3g} each{lines})"


def _sizes(sizes: Mapping[str, Any] | None) -> str:
    if not sizes or not sizes["largest"]:
        return ""
    low, middle, high = (
        f"{width} × {height}" for width, height in (sizes["smallest"], sizes["median"], sizes["largest"])
    )
    of = f"of {_count(sizes['looked_at'], 'image')} looked at"
    return f"{low} ({of})" if low == high else f"{low} to {high}, median {middle} ({of})"


def _unused(record: Mapping[str, Any]) -> str:
    kinds: Sequence[Mapping[str, Any]] = record.get("unused", ())
    if not record.get("unused_files"):
        return ""
    shown = [_kind(kind) for kind in kinds[:MOST_KINDS]]
    more = [f"and {len(kinds) - MOST_KINDS} other kinds"] if len(kinds) > MOST_KINDS else []
    return f"{_count(record['unused_files'], 'file')}: {', '.join([*shown, *more])}"


def _kind(kind: Mapping[str, Any]) -> str:
    why = f"; {kind['reason']}" if kind.get("reason") else ""
    example = kind["example"] if kind["count"] == 1 else f"such as {kind['example']}"
    return f"{kind['count']:,} {kind['kind']} ({example}{why})"


def _table(table: Mapping[str, Any]) -> str:
    roles = ", ".join(f"{role} = {' + '.join(columns)}" for role, columns in table["roles"].items())
    ignored = sorted(set(table["columns"]) - {column for columns in table["roles"].values() for column in columns})
    missing = f", {table['missing']:,} rows name images that are not there" if table["missing"] else ""
    rest = f"; not read: {', '.join(ignored[:MOST_KINDS])}" if ignored else ""
    return f"{table['path']}: {roles}; names {_count(table['images'], 'image')}{missing}{rest}"


def _problem(problem: Mapping[str, Any]) -> str:
    return f"{problem['count']:,} × {problem['reason']}, such as {problem['example']}"


def _warning(warning: Mapping[str, Any]) -> str:
    option = warning["option"]
    return warning["message"] if option is None else f"{warning['message']}; {option_text(option, warning['value'])}"
