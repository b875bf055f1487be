"""What is checked of tables that were read: whether they help, contradict each other, or were read as not meant."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from stores.sources.summary import DataWarning
from stores.sources.tables.columns import other_captions
from stores.sources.tables.guesses import has_boxes, says_no_role
from stores.sources.tables.reading import TableReading

UNREAD_COLUMNS = "it names images, and no name says what these columns are:"


def says_nothing(reading: TableReading) -> str | None:
    """Why a table that was read does not help, or None: it may be one of objects, or one of pairs of images."""
    if reading.roles:
        return None
    folders = set(map(posixpath.dirname, reading.found)) & set(map(posixpath.dirname, reading.further))
    if not reading.further:
        return "a table of objects with boxes, several an image: no labels of images"
    return "a table of pairs of images without labels or captions" if folders else None


def unread_columns(reading: TableReading) -> str | None:
    """Why a table that names images gives them nothing, with the columns that may be labels or captions; or None."""
    if reading.file_column is None or has_boxes(reading.columns):
        return None
    rest = [column for column in reading.columns if column != reading.file_column]
    others = [column for column in rest if not says_no_role(column) and reading.may_be_read(column)]
    others = others or [column for column in rest if says_no_role(column) and reading.is_of_words(column)]
    shown = ", ".join(map(repr, others[:6]))
    return f"{UNREAD_COLUMNS} {shown}; label_column or caption_column does" if others else None


def column_warnings(reading: TableReading) -> Iterator[DataWarning]:
    """Say which columns were read that may not be meant, and which were not that may be."""
    path, roles = reading.table.path, reading.roles
    if (column := reading.guessed) is not None and reading.options.labels is None:
        role = next(role for role, columns in roles.items() if column in columns)
        yield DataWarning(f"{path}: the only other column {column!r} is read as the {role}", f"{role}_column", column)
    read = roles.get("caption", [])
    others = other_captions(reading.columns, read) if read and reading.options.caption_column is None else []
    if others:
        message = f"{path}: captions are read from {', '.join(read)}, not from {', '.join(others)}"
        yield DataWarning(message, "caption_column", others[0])
