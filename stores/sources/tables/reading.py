"""Reads a table for a set of images: which columns are what, which rows name an image, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stores.sources.fields.labels import RawLabel, parse_captions, parse_label
from stores.sources.fields.problems import Problems
from stores.sources.fields.several_labels import are_lists_of_labels, only_label
from stores.sources.options import SourceOptions
from stores.sources.paths import SourceError, safe_name
from stores.sources.summary import TableUse
from stores.sources.tables.columns import caption_columns, file_columns, label_column, plain
from stores.sources.tables.guesses import confidence_column, has_boxes, has_failed, is_denied
from stores.sources.tables.match import ImageIndex, as_file_value, names_an_image
from stores.sources.tables.roles import TableColumns, is_one
from stores.sources.tables.table import Record, Table


@dataclass(slots=True)
class Fields:
    """What tables say of one image."""

    label: RawLabel = None
    captions: list[str] = field(default_factory=list)
    split: str | None = None
    label_text: str | None = None


class TableReading(TableColumns):
    """One table read for the images of a tree.

    Attributes:
        found: fields by image name.
        missing: fields by the path of an image that is not there.
        further: images in other columns than that of the rows.
    """

    def __init__(
        self, table: Table, images: ImageIndex, options: SourceOptions, problems: Problems, asked: bool
    ) -> None:
        super().__init__(table, images, options, asked)
        self.problems = problems
        self.found: dict[str, Fields] = {}
        self.missing: dict[str, Fields] = {}
        self.further: set[str] = set()
        self.rows = 0
        # Whether an image has rows of several labels.
        self._several = False
        self._confidence = confidence_column(self.columns, self._sample)
        label = self.roles.get("label", [])
        self._in_lists = len(label) == 1 and are_lists_of_labels([record.get(label[0]) for record in self._sample])

    def read(self) -> TableReading:
        """Read every row; labels of objects with a box count where no image has several of them."""
        for where, record in self.table.rows():
            self.rows += 1
            self._row(where, record)
        if self._several and has_boxes(self.columns):
            self.roles.pop("label", None)
            for fields in (*self.found.values(), *self.missing.values()):
                fields.label = fields.label_text = None
        return self

    def _row(self, where: str, record: Record) -> None:
        value = as_file_value(record.get(self.file_column or ""))
        if value is None:
            shown = record.get(self.file_column or "")
            self.problems.add("row that names no file: it is left out", f"{where}: {shown!r}")
            return
        fields = self._fields(where, record)
        name = self.find_image(value, record, fields.split)
        others = (as_file_value(record.get(column)) for column in self.further_images)
        self.further |= {other for path in others if path and (other := self.find_image(path, record, fields.split))}
        if name is not None:
            known = self.found.get(name)
            self._several |= known is not None and fields.label not in (None, known.label)
            merge_fields(self.found, name, fields, where, self.problems)
        elif not has_failed(record) and (path := self._problem_path(value, where)) is not None:
            merge_fields(self.missing, path, fields, where, self.problems)

    def _problem_path(self, value: str, where: str) -> str | None:
        """The path of an image that is not there, or None with the problem counted where it leads outside."""
        try:
            return safe_name(value.replace("\\", "/"), where)
        except SourceError as error:
            self.problems.attempt("file name", _raise(error), value, where)
            return None

    def _fields(self, where: str, record: Record) -> Fields:
        attempt = self.problems.attempt
        fields = Fields()
        fields.label = attempt("label", parse_label, self._label_value(record, where), where)
        for column in self._present(record, "caption", caption_columns):
            texts = attempt("caption", parse_captions, record.get(column), where)
            fields.captions += texts or []
        for column in self.roles.get("split", ()):
            fields.split = attempt("split", self.parse_split, record.get(column), where)
        text = record.get(self.label_text_column or "")
        fields.label_text = text.strip() if isinstance(text, str) and text.strip() else None
        return fields

    def _present(self, record: Record, role: str, named: Callable[[Sequence[str]], list[str]]) -> list[str]:
        """The columns of a role; a JSON row that has none of them may use another usual name."""
        columns = self.roles.get(role, [])
        if not columns or any(column in record for column in columns):
            return columns
        return named([column for column in record if column != self.file_column])

    def _label_value(self, record: Record, where: str) -> object:
        columns = self._present(record, "label", lambda names: [label] if (label := label_column(names)) else [])
        if len(columns) > 1:
            return self._only_one(columns, record, where)
        value = record.get(columns[0]) if columns else None
        if columns and self._confidence and is_denied(record.get(self._confidence)):
            return None
        # Kaggle's ImageNet gives the class and its boxes in one cell.
        if columns and plain(columns[0]) == "predictionstring" and isinstance(value, str):
            return value.split()[0] if value.split() else None
        return only_label(value, where, self.problems) if self._in_lists else value

    def _only_one(self, columns: list[str], record: Record, where: str) -> str | None:
        """The one-hot column with the 1; None, with the problem counted, where several have it."""
        ones = [column for column in columns if is_one(record.get(column))]
        if len(ones) > 1:
            self.problems.add(
                "row with several ones where the first rows have one each: it has no label",
                f"{where}: {', '.join(ones[:5])}",
            )
        return ones[0] if len(ones) == 1 else None

    def names_several(self) -> str | None:
        """Why a column called like one of files names no image: several have each of its names; or None."""
        for column in file_columns(self.columns):
            values = [value for record in self._sample if (value := as_file_value(record.get(column)))]
            if values and all(map(self.images.is_of_several, values)):
                shown = f"the names in {column!r}, such as {values[0]}, are each of several images"
                return f"{shown}: give paths in it, or name the folder of the images that are meant"
        return None

    def absent_image(self) -> str | None:
        """The first name of an image in the first rows, also one with a label behind it, where no column names any."""
        cells = (cell for record in self._sample for cell in (*record, *record.values()) if isinstance(cell, str))
        words = (cell.split()[0] for cell in cells if cell.strip() and "://" not in cell)
        return next((word for word in words if names_an_image(word) and not self.images.find(word)), None)

    def use(self) -> TableUse:
        """What the summary says of the table."""
        text = [self.label_text_column] if self.label_text_column else []
        roles = {"file": [self.file_column or ""], **self.roles, **({"class name": text} if text else {})}
        return TableUse(self.table.path, self.columns, roles, self.rows, len(self.found), len(self.missing))


def merge_fields(known: dict[str, Fields], name: str, fields: Fields, where: str, problems: Problems) -> None:
    """Put a row's fields to those of an image: captions are joined, and the first label and split count."""
    first = known.setdefault(name, fields)
    if first is fields:
        return
    first.captions += fields.captions
    for role in ("label", "split", "label_text"):
        old, new = getattr(first, role), getattr(fields, role)
        if old is None:
            setattr(first, role, new)
        elif new is not None and str(new) != str(old):
            reason = f"image with two {role.replace('_', ' ')}s in tables: the first counts"
            problems.add(reason, f"{where}: {name!r} is there again with {role} {new!r}, expected {old!r} as before")


def _raise(error: SourceError) -> Callable[[object, str], None]:
    def fail(value: object, where: str) -> None:
        raise error

    return fail
