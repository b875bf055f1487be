"""Which tables of a data set name its images and go together, and what the images' folders mean beside them."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import IO

from stores.sources.fields.problems import Problems
from stores.sources.fields.splits import TEST
from stores.sources.folders.meaning import FolderMeaning, understand_folders
from stores.sources.folders.shards import are_pieces_of_names
from stores.sources.layouts.layout import Layout
from stores.sources.lists.headerless import WITHOUT_HEADER, WithoutHeaderError, refuse_without_header
from stores.sources.lists.lines import LISTS
from stores.sources.paths import TABLE_SUFFIXES, PairsError, SeveralImagesError, SourceError
from stores.sources.summary import ITSELF, Unread
from stores.sources.tables.checks import says_nothing, unread_columns
from stores.sources.tables.choice import (
    refuse_rivals,
    tables_of_examples,
    without_changed_texts,
    without_tables_of_boxes,
)
from stores.sources.tables.match import ImageIndex, names_an_image
from stores.sources.tables.reading import TableReading
from stores.sources.tables.table import Table

# So many files that are no tables of the images end the search.
MAX_FAILED = 64
# A table counts when it names more than this share of the images (those of an unlabeled test part aside).
MOST = 0.5
OF_EXAMPLES = Unread("a table of one image of each class, which are no images of the set")


class TableSearch(Layout):
    """A layout whose fields come from tables."""

    @cached_property
    def readings(self) -> list[TableReading]:
        """The tables that name images and say something of them, read whole."""
        if self.options.labels is not None:
            return [self._read_asked(self.options.labels)]
        readings: list[TableReading] = []
        failed = 0
        for name in self.candidates():
            reading = self._try(name)
            readings += [reading] if reading is not None else []
            failed += reading is None
            if failed == MAX_FAILED:
                break
        return self._chosen(readings)

    def _chosen(self, readings: list[TableReading]) -> list[TableReading]:
        """The tables that go together, with those that only name the images of a part (test.csv)."""
        shown = tables_of_examples(readings)
        for reading in shown:
            self.rejected[reading.table.path] = OF_EXAMPLES
        kept = [reading for reading in readings if reading not in shown]
        kept = without_tables_of_boxes(kept, self._expected, self.rejected) if kept[1:] else kept
        kept = without_changed_texts(kept, self.rejected)
        parts = list(self._parts(kept)) if kept else []
        for part in parts:
            del self.rejected[part.table.path]
        refuse_rivals(kept, self.tree.where)
        return kept + parts

    def _parts(self, readings: list[TableReading]) -> Iterator[TableReading]:
        """Tables without fields, named by a split, that name images which no other table names."""
        known = {name for reading in readings for name in reading.found}
        for path in [path for path in self.rejected if path in self.tree.files]:
            if (split := self.tree.table_split(path)) is None or path not in self.tree.tables:
                continue
            table = Table(path, posixpath.dirname(path), partial(self.tree.open, path), Problems(), split)
            with contextlib.suppress(SourceError):
                part = TableReading(table, self.images, self.options, table.problems, asked=False)
                if part.file_column is not None and not part.roles and known.isdisjoint(part.read().found):
                    yield from [part] if part.found else []

    def candidates(self) -> Iterator[str]:
        """Names of the tree's files that may be tables, those at the top first."""
        yield from sorted(self.tree.tables, key=lambda name: (name.count("/"), name))

    def _try(self, name: str) -> TableReading | None:
        """A table of the tree read, or None where it is none that helps; what was wrong with it is kept."""
        problems = Problems()
        table = Table(
            name, posixpath.dirname(name), partial(self.tree.open, name), problems, self.tree.table_split(name)
        )
        try:
            refuse_without_header(table, self.images, self.tree.images)
            reading = TableReading(table, self.images, self.options, problems, asked=False)
            begins = any(map(names_an_image, reading.columns)) or self.images.find(reading.file_column or "")
            if name.lower().endswith(LISTS) and begins:
                return None  # its first line is a row: `LabelLists` reads it
            if not reading.says_something:
                self.rejected[name] = unread_columns(reading, self._expected)
                return None
            reading.read()
            if reason := says_nothing(reading) or self._outvoted(reading):
                self.rejected[name] = reason
                return None
        except SeveralImagesError:
            raise
        except WithoutHeaderError:
            if len(self._folder_classes(self.tree.images)) < 2:
                raise
            self.rejected[name] = WITHOUT_HEADER
            return None
        except SourceError as error:
            cut = "labels" if name.lower().endswith(".json") else None
            pairs = isinstance(error, PairsError)
            self.rejected[name] = (
                Unread(str(error), "file_column") if pairs else Unread(str(error), cut, unless="fields")
            )
            return None
        named = f"a table that names {len(reading.found)} of the {len(self.tree.images)} images"
        self.rejected[name] = Unread(named, *(("labels", ITSELF) if reading.found else ()))
        return reading if self._mostly_here(reading) else None

    @cached_property
    def _expected(self) -> int:
        """How many images a table of all of them names: test parts often have none."""
        return sum(self.split_of(name) != TEST for name in self.tree.images) or len(self.tree.images)

    def _outvoted(self, reading: TableReading) -> Unread | None:
        """Why a table whose column of labels is a guess gives way to folders of classes, or None."""
        classes = self._folder_classes(reading.found)
        if reading.guessed is None or len(classes) < 2:
            return None
        reason = f"the folders may be classes, and no name says what {reading.guessed!r} is: label_column does"
        return Unread(reason, "label_column", reading.guessed, unless="fields")

    def _mostly_here(self, reading: TableReading) -> bool:
        return len(reading.found) > len(reading.missing) or len(reading.found) > MOST * len(self.tree.images)

    def _read_asked(self, path: str) -> TableReading:
        """The table that the user named, inside the data set or elsewhere."""
        if not os.path.isfile(path):
            raise SourceError(f"{path}: expected a table of labels or captions; received no such file; check the path")
        if not path.lower().endswith(TABLE_SUFFIXES):
            raise SourceError(
                f"{path}: expected a table ({', '.join(TABLE_SUFFIXES)}); received another file; convert it"
            )
        inside = self.tree.inside(path)
        where, split = inside or path, self.tree.table_split(inside or path)
        table = Table(where, posixpath.dirname(inside or ""), partial(_open_binary, path), self.problems, split)
        refuse_without_header(table, self.images, self.tree.images)
        reading = TableReading(table, self.images, self.options, self.problems, asked=True)
        if reading.file_column is None:
            for _ in table.rows():
                break
            raise SourceError(
                f"{path}: expected a column that names the image files; received the columns "
                f"{', '.join(reading.columns) or self._first_problem()}; name it with file_column"
            )
        return reading.read()

    def _first_problem(self) -> str:
        reasons = self.problems.to_list()
        return f"none: {reasons[0].example}" if reasons else "none"

    def _folder_class(self, name: str) -> str | None:
        """The class that an image's folder names; folders of digits are parts, not names, as are those of hashes."""
        found = self.folders.of(self.tree.path(name))[0]
        return None if found is None or found.isdecimal() or self._are_pieces else found

    @cached_property
    def _are_pieces(self) -> bool:
        return are_pieces_of_names(self.folders, map(self.tree.path, self.tree.images))

    def _folder_classes(self, names: Iterable[str]) -> set[str]:
        """The classes that the folders of some images name."""
        return {found for name in names if (found := self._folder_class(name)) is not None}

    @cached_property
    def images(self) -> ImageIndex:
        """The images by what tables call them."""
        return ImageIndex(self.tree.images, self.split_of)

    @cached_property
    def folders(self) -> FolderMeaning:
        """What the folders of the images mean."""
        return understand_folders(map(self.tree.path, self.tree.images))

    def split_of(self, name: str) -> str | None:
        """The split that an image's path says."""
        return self.folders.of(self.tree.path(name))[1] or self.tree.container_split(name)


def _open_binary(path: str) -> IO[bytes]:
    return Path(path).open("rb")
