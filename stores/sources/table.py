"""A folder of images with a CSV or JSONL table that gives each file its label, captions or split."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stores.sources.base import UNKNOWN_BYTES, Source, SourceItem, read_whole_file
from stores.sources.labels import (
    CAPTION_COLUMNS,
    FILE_COLUMNS,
    LABEL_COLUMNS,
    RawLabel,
    first_present,
    parse_captions,
    parse_label,
    parse_split,
)
from stores.sources.paths import SourceError, class_and_split, contained_path, safe_name

TABLE_SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True)
class TableSource(Source):
    """The images that `table` names, relative to `root`; files it does not name are left out.

    Columns (any case): file_name/file/filename/path/image, label/class/class_index, caption/captions/text, split. A
    file on several rows has several captions. A file that is named but missing is listed: reading it says so.
    """

    root: str
    table: str
    kind = "table"

    def entries(self) -> Iterator[tuple[SourceItem, RawLabel]]:
        found: dict[str, tuple[SourceItem, RawLabel]] = {}
        for where, record in read_table(self.table):
            item, label = self._entry(record, where)
            found[item.key] = merge_rows(found[item.key], (item, label), where) if item.key in found else (item, label)
        return iter(found.values())

    def read(self, source: str, offset: int, num_bytes: int) -> bytes:
        return read_whole_file(self.root, source, num_bytes)

    def _entry(self, record: dict[str, object], where: str) -> tuple[SourceItem, RawLabel]:
        name = first_present(record, FILE_COLUMNS)
        if not isinstance(name, str):
            raise SourceError(f"{where}: expected a file name in one of {', '.join(FILE_COLUMNS)}, found {name!r}")
        key = safe_name(name.strip(), where)
        split = parse_split(record.get("split"), where) or class_and_split(key)[1]
        captions = parse_captions(first_present(record, CAPTION_COLUMNS), where)
        label = parse_label(first_present(record, LABEL_COLUMNS), where)
        return SourceItem(key, None, captions, split, key, 0, self._num_bytes(key)), label

    def _num_bytes(self, name: str) -> int:
        path = contained_path(self.root, name)
        return path.stat().st_size if path.is_file() else UNKNOWN_BYTES


def merge_rows(
    first: tuple[SourceItem, RawLabel], second: tuple[SourceItem, RawLabel], where: str
) -> tuple[SourceItem, RawLabel]:
    """Two rows of one file as one: captions are joined, label and split must agree."""
    (item, label), (other, other_label) = first, second
    if label != other_label or item.split != other.split:
        raise SourceError(
            f"{where}: {item.key!r} is there again with label {other_label!r} and split {other.split!r}, "
            f"expected {label!r} and {item.split!r} as before; keep one of the rows"
        )
    return replace(item, caption=[*(item.caption or []), *(other.caption or [])] or None), label


def read_table(path: str | Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield ("file, line n", record with lower-case column names) of a CSV with a header or a JSONL file.

    Raises `SourceError` naming the line for text that is not UTF-8, a broken line, or a CSV row longer than its header.
    """
    rows = _csv_rows(path) if Path(path).suffix.lower() == ".csv" else _jsonl_rows(path)
    try:
        yield from rows
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path}: expected UTF-8 text, found other bytes ({error.reason}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error


def has_file_column(path: str | Path) -> bool:
    """Whether the first row of a table names a file."""
    first = next(read_table(path), None)
    return first is not None and any(name in first[1] for name in FILE_COLUMNS)


def _csv_rows(path: str | Path) -> Iterator[tuple[str, dict[str, object]]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if None in row:
                    raise SourceError(
                        f"{where}: expected {len(row) - 1} columns as in the header, found more; quote commas"
                    )
                yield where, {name.strip().lower(): value for name, value in row.items()}
        except csv.Error as error:
            raise SourceError(f"{path}, line {reader.line_num}: expected CSV, found: {error}") from error


def _jsonl_rows(path: str | Path) -> Iterator[tuple[str, dict[str, object]]]:
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                yield where, parse_json_object(line, where)


def parse_json_object(text: str, where: str) -> dict[str, object]:
    """A JSON object with lower-case keys; `SourceError` when the text is anything else."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: expected a JSON object, found text that is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise SourceError(f"{where}: expected a JSON object, found {type(record).__name__}")
    return {name.strip().lower(): value for name, value in record.items()}
