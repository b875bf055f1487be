"""The column of a table that names the images, and the images that its rows mean."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from functools import cached_property, partial

from stores.sources.fields.file_splits import split_of_name
from stores.sources.fields.labels import parse_split
from stores.sources.options import SourceOptions
from stores.sources.paths import PairsError, SeveralImagesError, SourceError
from stores.sources.tables.columns import FILE_NAMES, asked_column, file_columns, plain, split_column
from stores.sources.tables.match import ImageIndex, as_file_value, clean_path, is_path_of, names_an_image
from stores.sources.tables.split_values import no_splits
from stores.sources.tables.table import Record, Table, columns_of

# Of the first rows, a column names the images when this share of its values does.
MATCHING_SHARE = 0.5
# A number of so many digits is an id wherever it stands.
ID_DIGITS = 6


class FileColumn:
    """Which column of a table names the images of a tree, by the first rows."""

    def __init__(self, table: Table, images: ImageIndex, options: SourceOptions, asked: bool) -> None:
        self.table, self.images, self.options, self.asked = table, images, options, asked
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
                raise (PairsError if together else SeveralImagesError)(
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
    def further_images(self) -> list[str]:
        """Columns that name other images than the one of the rows, such as masks."""
        first = self._images_of(self.file_column or "")
        least = MATCHING_SHARE * len(self._sample)
        found = {column: self._images_of(column) for column in self.columns if column != self.file_column}
        return [column for column, images in found.items() if len(images) >= max(1, least) and images != first]

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
