"""Reads a table for a set of images: which columns are what, which rows name an image, and what they say of it."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from stores.sources.fields.labels import RawLabel, parse_captions, parse_label, parse_split
from stores.sources.fields.problems import Problems
from stores.sources.fields.splits import split_in_words
from stores.sources.options import SourceOptions
from stores.sources.paths import SourceError, safe_name
from stores.sources.summary import TableUse
from stores.sources.tables.columns import (
    LABEL_TEXT_NAMES,
    asked_column,
    caption_columns,
    file_columns,
    label_column,
    plain,
    roles_of,
    split_column,
)
from stores.sources.tables.match import ImageIndex, as_file_value, clean_path
from stores.sources.tables.table import Record, Table, columns_of

# Of the first rows, a column names the images when this share of its values does.
MATCHING_SHARE = 0.5


@dataclass(slots=True)
class Fields:
    """What tables say of one image."""

    label: RawLabel = None
    captions: list[str] = field(default_factory=list)
    split: str | None = None
    label_text: str | None = None


class TableReading:
    """One table read for the images of a tree.

    Attributes:
        found: fields by image name.
        missing: fields by the path of an image that is not there.
    """

    def __init__(
        self, table: Table, images: ImageIndex, options: SourceOptions, problems: Problems, asked: bool
    ) -> None:
        self.table, self.images, self.options, self.problems, self.asked = table, images, options, problems, asked
        self.found: dict[str, Fields] = {}
        self.missing: dict[str, Fields] = {}
        self.rows = 0
        self._sample = table.sample()
        self.columns = columns_of(self._sample)

    @cached_property
    def split(self) -> str | None:
        """The split that the table's name or folder says ("captions_val2017.json", "train/metadata.csv")."""
        return split_in_words(self.table.name) or split_in_words(posixpath.basename(self.table.folder))

    @cached_property
    def file_column(self) -> str | None:
        """The column that names the images: the one asked for, or the one whose values match images most often."""
        if self.options.file_column is not None and (self.asked or self.options.file_column in self.columns):
            return asked_column(self.columns, self.options.file_column, self.table.path, "image file")
        named = file_columns(self.columns)
        others = [column for column in self.columns if column not in named]
        for columns, least in ((named, MATCHING_SHARE), (others, MATCHING_SHARE), (named, 0.0)):
            shares = {column: self._matching(column, column in others) for column in columns}
            best = max(shares, key=lambda column: shares[column], default=None)
            if best is not None and shares[best] > 0 and shares[best] >= least:
                return best
        return named[0] if named and self.asked else None

    def _matching(self, column: str, no_numbers: bool) -> float:
        """The share of the first values that name an image; numbers count only in columns with the name of a file."""
        values = [as_file_value(record.get(column)) for record in self._sample]
        texts = [value for value in values if value is not None and not (no_numbers and value.isdecimal())]
        return sum(self._find(value, {}) is not None for value in texts) / len(texts) if texts else 0.0

    @cached_property
    def roles(self) -> dict[str, list[str]]:
        """Which columns are the label, the captions and the split."""
        roles = self._named_roles()
        if "label" not in roles and (columns := self._one_hot_columns()):
            roles["label"] = columns
        return roles

    @property
    def says_something(self) -> bool:
        """Whether it names images and gives them a label, captions or a split."""
        return self.file_column is not None and bool(self.roles)

    @cached_property
    def label_text_column(self) -> str | None:
        """A column of names beside one of label numbers."""
        label = self.roles.get("label", [])
        if len(label) != 1 or not all(_is_number(record.get(label[0])) for record in self._sample):
            return None
        taken = {self.file_column, *label, *self.roles.get("caption", []), *self.roles.get("split", [])}
        named = [column for column in self.columns if plain(column) in LABEL_TEXT_NAMES and column not in taken]
        fits = [c for c in named if any(isinstance(r.get(c), str) and not _is_number(r.get(c)) for r in self._sample)]
        return fits[0] if fits else None

    def _one_hot_columns(self) -> list[str]:
        """Columns of zeros and ones of which each row has one 1."""
        taken = {self.file_column, *(name for names in self._named_roles().values() for name in names)}
        columns = [
            column for column in self.columns if column not in taken and all(map(partial(_bit, column), self._sample))
        ]
        ones = [sum(_is_one(record[column]) for column in columns) for record in self._sample]
        return columns if len(columns) > 1 and all(count == 1 for count in ones) else []

    def _named_roles(self) -> dict[str, list[str]]:
        """The roles that columns have by their names, or by the options where the table has these columns."""
        options = self.options
        if not self.asked:
            lower = {column.lower() for column in self.columns}

            def here(name: str | None) -> str | None:
                return name if (name or "").lower() in lower else None

            options = replace(
                options,
                label_column=here(options.label_column),
                caption_column=here(options.caption_column),
                split_column=here(options.split_column),
            )
        return roles_of(self.columns, options, self.table.path, self.file_column)

    def read(self) -> TableReading:
        """Read every row."""
        for where, record in self.table.rows():
            self.rows += 1
            self._row(where, record)
        return self

    def _row(self, where: str, record: Record) -> None:
        value = as_file_value(record.get(self.file_column or ""))
        if value is None:
            shown = record.get(self.file_column or "")
            self.problems.add("row that names no file: it is left out", f"{where}: {shown!r}")
            return
        fields = self._fields(where, record)
        name = self._find(value, record, fields.split)
        if name is not None:
            merge_fields(self.found, name, fields, where, self.problems)
        elif (path := self._problem_path(value, where)) is not None:
            merge_fields(self.missing, path, fields, where, self.problems)

    def _problem_path(self, value: str, where: str) -> str | None:
        """The path of an image that is not there, or None with the problem counted where it leads outside."""
        try:
            return safe_name(value.replace("\\", "/"), where)
        except SourceError as error:
            self.problems.attempt("file name", _raise(error), value, where)
            return None

    def _find(self, value: str, record: Record, split: str | None = None) -> str | None:
        folder = self.table.folder
        parent = next((record[key] for key in ("filepath", "folder", "dir") if isinstance(record.get(key), str)), None)
        if (
            parent is not None
            and parent != value
            and (
                name := self.images.find(f"{clean_path(str(parent))}/{clean_path(value)}", folder, split or self.split)
            )
        ):
            return name
        return self.images.find(value, folder, split or self.split)

    def _fields(self, where: str, record: Record) -> Fields:
        attempt = self.problems.attempt
        fields = Fields()
        fields.label = attempt("label", parse_label, self._label_value(record), where)
        for column in self._present(record, "caption", caption_columns):
            texts = attempt("caption", parse_captions, record.get(column), where)
            fields.captions += texts or []
        for column in self.roles.get("split", ()):
            fields.split = attempt("split", self._parse_split, record.get(column), where)
        text = record.get(self.label_text_column or "")
        fields.label_text = text.strip() if isinstance(text, str) and text.strip() else None
        return fields

    def _present(self, record: Record, role: str, named: Callable[[Sequence[str]], list[str]]) -> list[str]:
        """The columns of a role; a JSON row that has none of them may use another usual name."""
        columns = self.roles.get(role, [])
        if not columns or any(column in record for column in columns):
            return columns
        return named([column for column in record if column != self.file_column])

    @cached_property
    def _parse_split(self) -> Callable[[object, str], str | None]:
        return partial(parse_split, yes_no=split_column(self.columns)[1] and self.options.split_column is None)

    def _label_value(self, record: Record) -> object:
        columns = self._present(record, "label", lambda names: [label] if (label := label_column(names)) else [])
        if len(columns) > 1:
            return next((column for column in columns if _is_one(record.get(column))), None)
        value = record.get(columns[0]) if columns else None
        # Kaggle's ImageNet gives the class and its boxes in one cell.
        if columns and plain(columns[0]) == "predictionstring" and isinstance(value, str):
            return value.split()[0] if value.split() else None
        return value

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


def _is_number(value: object) -> bool:
    if isinstance(value, int | float):
        return True
    return (isinstance(value, str) and value.strip().replace(".", "", 1).lstrip("-").isdecimal()) or value in (None, "")


def _bit(column: str, record: Record) -> bool:
    return str(record.get(column)).strip() in ("0", "1", "0.0", "1.0", "True", "False")


def _is_one(value: object) -> bool:
    return str(value).strip() in ("1", "1.0", "True")
