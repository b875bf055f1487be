"""Tables (.csv, .tsv, .txt, .json, .jsonl, .parquet) that give each image file its label, captions or split."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from stores.sources.fields.class_names import one_to_one_names
from stores.sources.fields.splits import TEST
from stores.sources.layouts.layout import ImageRow, Reading
from stores.sources.layouts.table_search import MOST, TableSearch
from stores.sources.paths import SourceError
from stores.sources.summary import DataWarning, Unread
from stores.sources.tables.checks import column_warnings, contradictions
from stores.sources.tables.reading import Fields, merge_fields

FURTHER, NOT_NAMED = Unread("a further image of a row, of which one is read"), Unread("not named by the table")


class TableLayout(TableSearch):
    """Images that one or several tables name; others are left out, but for those of a test part."""

    name = "table"
    description = "a table with a row (or several) for each image"

    def recognize(self) -> int:
        if not self.readings:
            return 0
        named = {name for reading in self.readings for name in reading.found}
        further = {name for reading in self.readings for name in reading.further} - named
        counted = [
            name for name in self.tree.images if name in named or (self.split_of(name) != TEST and name not in further)
        ]
        return len(named | further) if self.options.labels or len(named) > MOST * len(counted) else 0

    def list_images(self) -> Reading:
        found, missing = self._merged()
        self._require_rows(found, missing)
        self.problems.check()
        rows = [
            self._row(name, found.get(name, Fields()))
            for name in self.tree.images
            if name in found or self._is_test(name)
        ]
        absent = missing if not self.tree.in_archives else {}
        rows += [ImageRow(path, fields.label, fields.captions or None, fields.split) for path, fields in absent.items()]
        further = set[str]().union(*(reading.further for reading in self.readings))
        left_out = {
            name: FURTHER if name in further else NOT_NAMED
            for name in set(self.tree.images) - {row.name for row in rows}
        }
        return Reading(
            rows,
            used={reading.table.path for reading in self.readings} & set(self.tree.files),
            unused=left_out,
            class_names=self._class_names(found, missing),
            tables=[reading.use() for reading in self.readings],
            warnings=[
                *self._coverage([name for name in left_out if name not in further], missing),
                *self._folder_warnings(found),
                *contradictions(found, self._folder_class),
            ],
        )

    def _merged(self) -> tuple[dict[str, Fields], dict[str, Fields]]:
        found, missing = dict[str, Fields](), dict[str, Fields]()
        # Tables of several parts know their images better than folders do: Karpathy's train has some of val.
        several = len({reading.split for reading in self.readings} - {None}) > 1
        for reading in self.readings:
            if reading.table.problems is not self.problems:
                self.problems.merge(reading.table.problems)
            for name, fields in reading.found.items():
                part = reading.table.only_split or (reading.split if several else None)
                fields.split = fields.split or part or self.split_of(name) or reading.split
                # Tables that tell the same, such as LLaVA's chats and their sources, give a caption once.
                own = found[name].captions if name in found else []
                fields.captions = [caption for caption in fields.captions if caption not in own]
                merge_fields(found, name, fields, reading.table.path, self.problems)
            for path, fields in reading.missing.items():
                merge_fields(missing, path, fields, reading.table.path, self.problems)
        return found, missing

    def _require_rows(self, found: dict[str, Fields], missing: dict[str, Fields]) -> None:
        """Raise `SourceError` when no row of a table could be used, with the first reason."""
        if found or missing:
            return
        where = ", ".join(reading.table.path for reading in self.readings) or self.tree.where
        raise SourceError(
            f"{where}: expected rows that name images of the data set; received {self._first_problem()}; "
            "check the table, or choose another with labels"
        )

    def _row(self, name: str, fields: Fields) -> ImageRow:
        split = fields.split or self.split_of(name)
        label = fields.label if self._says_fields else self._folder_class(name)
        return ImageRow(name, label, fields.captions or None, split)

    @cached_property
    def _says_fields(self) -> bool:
        """Whether a table gives labels or captions; beside one of splits alone, folders of classes stay classes."""
        said = any(reading.roles.keys() & {"label", "caption"} for reading in self.readings)
        return said or len(self._folder_classes(name for reading in self.readings for name in reading.found)) < 2

    def _is_test(self, name: str) -> bool:
        return self.options.labels is None and self.split_of(name) == TEST

    def _class_names(self, found: dict[str, Fields], missing: dict[str, Fields]) -> list[str] | None:
        """Names of integer labels: from a column beside the labels, else of the folders when each has one label."""
        numbered = {name: fields for name, fields in found.items() if str(fields.label).isdecimal()}
        folders = {(int(str(fields.label)), self._folder_class(name) or "") for name, fields in numbered.items()}
        beside = {(int(str(fields.label)), fields.label_text or "") for fields in numbered.values()}
        others = (int(str(fields.label)) for fields in missing.values() if str(fields.label).isdecimal())
        largest = max((*others, *(number for number, _ in folders)), default=0)
        return one_to_one_names(beside, largest) or one_to_one_names(folders, largest)

    def _folder_warnings(self, found: dict[str, Fields]) -> Iterator[DataWarning]:
        """Say that folders are no classes where tables give captions and no labels."""
        classes = sorted(self._folder_classes(found))
        captioned = any("caption" in reading.roles for reading in self.readings)
        if captioned and len(classes) > 1 and all(fields.label is None for fields in found.values()):
            message = f"the {len(classes)} folders ({classes[0]}, …) are not read as classes, since a table gives"
            yield DataWarning(f"{message} the captions", "layout", "class-folders")

    def _coverage(self, left_out: list[str], missing: dict[str, Fields]) -> Iterator[DataWarning]:
        if left_out:
            example = min(left_out)
            yield DataWarning(
                f"{len(left_out)} images are not in the table and are left out, such as {example}", "labels"
            )
        for reading in self.readings:
            yield from column_warnings(reading, self.split_of)
        if missing:
            message = f"{len(missing)} rows of the table name images that are not there, such as {min(missing)}"
            yield DataWarning(message, "image_root")
