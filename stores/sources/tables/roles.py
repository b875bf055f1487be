"""The columns of a table: which names the images, and which are their labels, captions and splits."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial

from stores.sources.fields.file_splits import split_of_name
from stores.sources.fields.labels import parse_split
from stores.sources.fields.splits import split_of_folder
from stores.sources.options import SourceOptions
from stores.sources.paths import SeveralImagesError, SourceError
from stores.sources.tables.columns import (
    FILE_NAMES,
    LABEL_TEXT_NAMES,
    asked_column,
    asks_for_none,
    file_columns,
    plain,
    roles_of,
    split_column,
)
from stores.sources.tables.guesses import are_words, is_id_of_things, is_number, is_status, role_of_values, says_no_role
from stores.sources.tables.match import ImageIndex, as_file_value, clean_path, is_path_of, names_an_image
from stores.sources.tables.split_values import NUMBERED_NAMES, NoSplits, has_numbers, no_splits
from stores.sources.tables.table import Record, Table, columns_of

# Of the first rows, a column names the images when this share of its values does.
MATCHING_SHARE = 0.5
# A number of so many digits is an id wherever it stands.
ID_DIGITS = 6


class TableColumns:
    """What the columns of a table are for the images of a tree, by their names and by the first rows.

    Attributes:
        guessed: the column whose role its values say, not its name.
        no_splits: the column that is called like one of splits and has other values.
    """

    def __init__(self, table: Table, images: ImageIndex, options: SourceOptions, asked: bool) -> None:
        self.table, self.images, self.options, self.asked = table, images, options, asked
        self.guessed: str | None = None
        self.no_splits: NoSplits | None = None
        self._sample = table.sample()
        self.columns = columns_of(self._sample)

    @cached_property
    def split(self) -> str | None:
        """The split that the table's name or folder says ("captions_val2017.json", "train/metadata.csv")."""
        return self.table.split or split_of_name(posixpath.basename(self.table.folder))

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
                self._refuse_rivals(best)
                return best
        return named[0] if named and self.asked else None

    def _refuse_rivals(self, best: str) -> None:
        """Raise where a column that no usual name tells from the others names other images than they do.

        Where they lie in the same folders, this is a table of pairs, which may have nothing to do with the layout.
        """
        if plain(best) in FILE_NAMES or self.options.file_column is not None:
            return
        first = self._images_of(best)
        for column in self.columns:
            images = self._images_of(column)
            if column != best and len(images) >= MATCHING_SHARE * len(self._sample) and images != first:
                together = set(map(posixpath.dirname, first)) & set(map(posixpath.dirname, images))
                raise (SourceError if together else SeveralImagesError)(
                    f"{self.table.path}: expected one column that names the images; received {best} and {column}, "
                    "which name different ones; name it with file_column"
                )

    def _images_of(self, column: str) -> list[str]:
        values = [as_file_value(record.get(column)) for record in self._sample]
        found = ((value, self.find_image(value, {})) for value in values if value and names_an_image(value))
        return [name for value, name in found if name and is_path_of(value, name)]

    def _matching(self, column: str, no_numbers: bool) -> float:
        """The share of the first values that name an image; short numbers only in columns with the name of a file."""
        values = [(as_file_value(record.get(column)), self._split_of(record)) for record in self._sample]
        texts = [pair for pair in values if pair[0] is not None and not (no_numbers and _is_short_number(pair[0]))]
        found = sum(self.find_image(value or "", {}, split) is not None for value, split in texts)
        return found / len(texts) if texts else 0.0

    def _split_of(self, record: Record) -> str | None:
        """The split of a row by the column that is called so, which tells images of one name apart."""
        column, asked_of = split_column(self.columns)
        if self.options.split_column is not None:
            column = self.options.split_column
        elif column and asked_of is None and no_splits(column, [one.get(column) for one in self._sample]):
            return None
        try:
            return self.parse_split(record.get(column or ""), "")
        except SourceError:
            return None

    @cached_property
    def roles(self) -> dict[str, list[str]]:
        """Which columns are the label, the captions and the split."""
        roles = self._named_roles()
        if "label" not in roles and (columns := self._one_hot_columns(roles)):
            roles["label"] = columns
        prompts = "p" in self.columns and not self._is_of_numbers("p")  # DiffusionDB's
        if prompts and not roles.keys() & {"label", "caption"}:
            roles["caption"] = ["p"]
        if "label" not in roles and "caption" not in roles and (guess := self._only_other_column(roles)):
            role, column = guess
            roles[role] = [column]
            self.guessed = column
        return roles

    def _only_other_column(self, roles: dict[str, list[str]]) -> tuple[str, str] | None:
        """The role and name of the only column beside that of the files, where its values say what it is."""
        taken = self._taken(roles)
        unnamed = ("column ", "Unnamed: ")  # such as pandas writes
        columns = [column for column in self.columns if column not in taken and not column.startswith(unnamed)]
        if len(columns) > 1:  # an id beside measures and addresses ("url,landmark_id")
            columns = [column for column in columns if not says_no_role(column)]
            columns = columns if all(map(is_id_of_things, columns)) else []
        role = role_of_values([record.get(columns[0]) for record in self._sample]) if len(columns) == 1 else None
        if role is None or says_no_role(columns[0]) or (is_status(columns[0]) and not self.is_of_words(columns[0])):
            return None
        return role, columns[0]

    def _taken(self, roles: dict[str, list[str]]) -> set[str | None]:
        """The columns that have a role, or numbers of folds and the like."""
        folds = {self.no_splits.column} if self.no_splits is not None and self.no_splits.reason else set()
        return {self.file_column, *folds, *(name for names in roles.values() for name in names)}

    def may_be_read(self, column: str) -> bool:
        """Whether a column of the first rows may be labels, some of which are the same, or captions."""
        values = [*map(str, self._present_values(column))]
        return role_of_values(values) is not None or (
            len(set(values)) < len(values) and not any("." in value and is_number(value) for value in values)
        )

    def may_hold_labels(self, column: str) -> bool:
        """Whether a column of the first rows may be labels that all differ: no measures, addresses or fractions."""
        values = [*map(str, self._present_values(column))]
        fractions = any("." in value and is_number(value) for value in values)
        return bool(values) and not says_no_role(column) and not fractions

    def is_of_words(self, column: str) -> bool:
        """Whether a column of the first rows has words, some of which are the same."""
        return are_words([record.get(column) for record in self._sample])

    @property
    def says_something(self) -> bool:
        """Whether it names images and gives them a label, captions, a split, or a further image, which is no row."""
        return self.file_column is not None and (bool(self.roles) or bool(self.further_images))

    @cached_property
    def further_images(self) -> list[str]:
        """Columns that name other images than the one of the rows, such as masks."""
        first = self._images_of(self.file_column or "")
        least = MATCHING_SHARE * len(self._sample)
        found = {column: self._images_of(column) for column in self.columns if column != self.file_column}
        return [column for column, images in found.items() if len(images) >= max(1, least) and images != first]

    @cached_property
    def label_text_column(self) -> str | None:
        """A column of names beside one of label numbers."""
        label = self.roles.get("label", [])
        if len(label) != 1 or not all(map(is_number, self._present_values(label[0]))):
            return None
        taken = {self.file_column, *label, *self.roles.get("caption", []), *self.roles.get("split", [])}
        named = [column for column in self.columns if plain(column) in LABEL_TEXT_NAMES and column not in taken]
        fits = [c for c in named if any(isinstance(v, str) and not is_number(v) for v in self._present_values(c))]
        return fits[0] if fits else None

    def _one_hot_columns(self, roles: dict[str, list[str]]) -> list[str]:
        """Columns of zeros and ones of which each row has one 1."""
        taken = self._taken(roles)
        columns = [
            column for column in self.columns if column not in taken and all(map(partial(_bit, column), self._sample))
        ]
        ones = [sum(is_one(record[column]) for column in columns) for record in self._sample]
        return columns if len(columns) > 1 and all(count == 1 for count in ones) else []

    def _named_roles(self) -> dict[str, list[str]]:
        """The roles that columns have by their names, or by the options where the table has these columns."""
        options = self.options
        if not self.asked:
            lower = {column.lower() for column in self.columns}

            def here(name: str | None) -> str | None:
                return name if (name or "").lower() in lower or asks_for_none(name, self.columns) else None

            options = replace(
                options,
                label_column=here(options.label_column),
                caption_column=here(options.caption_column),
                split_column=here(options.split_column),
            )
        roles = roles_of(self._columns_of_values(options), options, self.table.path, self.file_column)
        # A split that is asked for, or the only thing that a table says, must be one.
        split = [] if self.asked and len(roles) == 1 else roles.get("split", [])
        if split and options.split_column is None and not self._may_be_split(split[0]):
            del roles["split"]
        label = roles.get("label", [])
        if label and "split" not in roles and options.label_column is None and self._are_splits(label[0]):
            roles["split"] = roles.pop("label")
        if options.caption_column is None and (
            texts := [c for c in roles.get("caption", []) if not self._is_of_numbers(c)]
        ):
            roles["caption"] = texts
        elif options.caption_column is None:
            roles.pop("caption", None)
        return roles

    def _is_of_numbers(self, column: str) -> bool:
        """Whether a column has numbers and nothing else, which are no captions."""
        values = self._present_values(column)
        return bool(values) and all(map(is_number, values))

    def _present_values(self, column: str) -> list[object]:
        """The values of a column in the first rows that are not empty."""
        return [value for record in self._sample if (value := record.get(column)) not in (None, "")]

    def _columns_of_values(self, options: SourceOptions) -> list[str]:
        """The columns but those that name further images, such as masks, which are no labels."""
        asked = (options.label_column, options.caption_column, options.split_column)
        return [
            column
            for column in self.columns
            if column == self.file_column
            or column in asked
            or len(self._images_of(column)) < max(1, MATCHING_SHARE * len(self._sample))
        ]

    def _may_be_split(self, column: str) -> bool:
        """Whether a column called like one of splits has splits in the first rows; of numbers all rows decide."""
        values = [record.get(column) for record in self._sample]
        if split_column(self.columns)[1] is not None:
            return any(map(self._is_split, values))
        if plain(column) in NUMBERED_NAMES and has_numbers(values):
            values = self.table.values(column)
        self.no_splits = no_splits(column, values)
        return self.no_splits is None

    def _are_splits(self, column: str) -> bool:
        """Whether all values of a column are names of splits: FFHQ's "category"."""
        splits = {split_of_folder(str(value)) for record in self._sample if (value := record.get(column)) is not None}
        return bool(splits) and None not in splits

    def _is_split(self, value: object) -> bool:
        try:
            return self.parse_split(value, "") is not None
        except SourceError:
            return False

    def find_image(self, value: str, record: Record, split: str | None = None) -> str | None:
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

    @cached_property
    def parse_split(self) -> Callable[[object, str], str | None]:
        return partial(
            parse_split, asks_of=split_column(self.columns)[1] if self.options.split_column is None else None
        )


def _is_short_number(value: str) -> bool:
    return value.isdecimal() and len(value) < ID_DIGITS


def _bit(column: str, record: Record) -> bool:
    return str(record.get(column)).strip() in ("0", "1", "0.0", "1.0", "True", "False")


def is_one(value: object) -> bool:
    """Whether a cell of a one-hot column is the 1."""
    return str(value).strip() in ("1", "1.0", "True")
