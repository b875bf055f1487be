"""The columns of a table by their names and first values: which are the labels, captions and splits."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial

from stores.sources.fields.labels import TEXT_KEYS
from stores.sources.fields.splits import split_of_folder
from stores.sources.options import SourceOptions
from stores.sources.paths import SourceError
from stores.sources.tables.columns import LABEL_TEXT_NAMES, asks_for_none, plain, roles_of, split_column
from stores.sources.tables.file_column import MATCHING_SHARE, FileColumn
from stores.sources.tables.guesses import are_words, is_id_of_things, is_number, is_status, role_of_values, says_no_role
from stores.sources.tables.match import ImageIndex
from stores.sources.tables.split_values import NUMBERED_NAMES, NoSplits, has_numbers, no_splits
from stores.sources.tables.table import Record, Table


class TableColumns(FileColumn):
    """What the columns of a table are for the images of a tree, by their names and by the first rows.

    Attributes:
        guessed: the column whose role its values say, not its name.
        no_splits: the column that is called like one of splits and has other values.
    """

    def __init__(self, table: Table, images: ImageIndex, options: SourceOptions, asked: bool) -> None:
        super().__init__(table, images, options, asked)
        self.guessed: str | None = None
        self.no_splits: NoSplits | None = None

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
        if role is None and len(columns) == 1 and plain(columns[0]) == "id" and self.is_of_words(columns[0]):
            role = "label"  # individuals, most of whom have few images: "Image,Id" of whales
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

    def is_of_objects(self, column: str) -> bool:
        """Whether a column of the first rows has objects without a text, or lists of them: they say nothing."""
        values = self._present_values(column)
        firsts = [value[0] if isinstance(value, list) and value else value for value in values]
        return any(isinstance(first, dict) and first.keys().isdisjoint(TEXT_KEYS) for first in firsts)

    def is_of_words(self, column: str) -> bool:
        """Whether a column of the first rows has words, some of which are the same."""
        return are_words([record.get(column) for record in self._sample])

    @property
    def says_something(self) -> bool:
        """Whether it names images and gives them a label, captions, a split, or a further image, which is no row."""
        return self.file_column is not None and (bool(self.roles) or bool(self.further_images))

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
            texts := [c for c in roles.get("caption", []) if not self._is_of_numbers(c) and not self.is_of_objects(c)]
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


def _bit(column: str, record: Record) -> bool:
    return str(record.get(column)).strip() in ("0", "1", "0.0", "1.0", "True", "False")


def is_one(value: object) -> bool:
    """Whether a cell of a one-hot column is the 1."""
    return str(value).strip() in ("1", "1.0", "True")
