"""Tables without a header: refused with the first line shown, since its values would be taken for column names."""

from __future__ import annotations

import csv
import os

from stores.sources.fields.splits import split_of_folder
from stores.sources.paths import SourceError
from stores.sources.summary import ITSELF, Unread
from stores.sources.tables.compressed import without_gz
from stores.sources.tables.delimited import HEAD_BYTES, delimiter_of, first_line, is_import_file
from stores.sources.tables.match import ImageIndex, names_an_image
from stores.sources.tables.table import Table

DELIMITED = (".csv", ".tsv")
# A list of a few files (damaged ones, say) is no table of the data set.
MOST = 0.5
WITHOUT_HEADER = Unread(
    "a table without a header beside folders of classes; if it gives the labels, put a line such as file_name,label "
    "above it",
    "labels",
    ITSELF,
)


class WithoutHeaderError(SourceError):
    """A table whose first line is a row."""


def refuse_without_header(table: Table, images: ImageIndex, names: list[str]) -> None:
    """Raise `WithoutHeaderError` for a table whose first line names an image and whose rows name most of them."""
    if not without_gz(table.path).lower().endswith(DELIMITED):
        return
    with table.content() as file:
        head = file.read(HEAD_BYTES)
        lines = head.count(b"\n")
    if is_import_file(head):
        return
    line = first_line(head)
    cells = next(csv.reader([line], delimiter=delimiter_of(line)), [])
    first = [cell for cell in cells if names_an_image(cell) or _is_stem(cell, names)]
    if not any(images.find(cell, table.folder) for cell in first) or (
        len(head) < HEAD_BYTES and lines < MOST * len(names)
    ):
        return
    raise WithoutHeaderError(
        f"{table.path}: expected a header with the names of the columns; received the first line {line[:200]!r}; "
        f"add a line such as {_header(cells)} above it, or choose the layout class-folders or images to read without it"
    )


def _header(cells: list[str]) -> str:
    """A header that fits the first row: "split,file_name,label" for "TRAIN,gs://set/1.jpg,cat"."""
    names = ["file_name" if names_an_image(c) else "split" if split_of_folder(c) else "label" for c in cells]
    return ",".join(names) if len(set(names)) == len(names) > 1 else "file_name,label"


def _is_stem(cell: str, names: list[str]) -> bool:
    """Whether a cell is the first image's name or one like it without the suffix."""
    stems = {os.path.splitext(os.path.basename(name))[0] for name in names[:1000]}
    return cell.strip() in stems and len(cell.strip()) > 3
