"""One folder a class, below folders of splits where there are any; parts without such folders by a file of labels."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import pairwise

from stores.sources.fields.labels import RawLabel
from stores.sources.fields.splits import TEST, split_in_words
from stores.sources.folders.doubts import name_warnings, nested_warnings
from stores.sources.folders.meaning import FolderMeaning, understand_folders
from stores.sources.folders.same_names import are_called_like_images, are_pairs, are_samples, may_be_pairs
from stores.sources.folders.shards import SHARD_DIGITS, are_last_digits, are_numbered_on, are_pieces_of_names
from stores.sources.layouts.layout import ImageRow, Layout, Reading
from stores.sources.layouts.sibling_files import SiblingFiles
from stores.sources.layouts.table import TableLayout
from stores.sources.lists.label_lists import LabelLists, reads_asked_list
from stores.sources.lists.lines import LISTS, stem_of
from stores.sources.lists.values import WNID
from stores.sources.summary import DataWarning, Unread
from stores.sources.tables.choice import NEARLY

# Lists above this are not compared with the folders: that would take longer than all else of a listing.
MAX_COMPARED_BYTES = 16 * 1024 * 1024


class ClassFolders(Layout):
    """The first folder below wrappers and splits is the class (ImageNet, Imagenette, CUB, …)."""

    name = "class-folders"
    description = "one folder of images a class"

    def recognize(self) -> int:
        labels = self.labels
        names = set(labels.values())
        parts = self._are_shards(names) or self._are_ranges(labels) or are_last_digits(labels)
        if parts or self._is_around_all(names) or are_called_like_images(labels) or self._are_by_name(labels):
            return 0
        if self._are_lists_meant(labels):
            return 0
        if are_pairs(labels):
            return self._are_none(f"the folders {', '.join(sorted(names))} hold images of the same names", "pairs")
        if are_samples(labels):
            return self._are_none(
                f"the {len(names)} folders ({min(names)}, …) hold one image each, of one name", "samples"
            )
        return len(labels)

    def _are_none(self, message: str, what: str) -> int:
        """Say that the folders are no classes; the number of images that this layout explains, 0."""
        doubt = f"{message} and are read as {what}: if they are classes, choose the layout"
        self.tree.warnings.append(DataWarning(doubt, "layout", self.name))
        return 0

    @property
    def labels(self) -> dict[str, str]:
        """The class of each image that lies in a folder of one."""
        return {name: label for name in self.tree.images if (label := self._class(name)) is not None}

    def list_images(self) -> Reading:
        rows = [ImageRow(name, self._class(name), split=self._split(name)) for name in self.tree.images]
        reading = Reading(rows, detail=self._detail())
        fill_unlabeled(self, reading)
        classes = {str(row.label) for row in rows if row.label is not None}
        reading.warnings += nested_warnings(
            self.folders, map(self.tree.path, self.tree.images), self.name, self.tree.where
        )
        reading.warnings += name_warnings(self.folders, classes, any(row.split for row in rows))
        reading.warnings += self._list_warnings(rows)
        if may_be_pairs({row.name: str(row.label) for row in rows if row.label is not None}):
            message = "the folders hold images of the same names: if they are pairs and no classes, choose the layout"
            reading.warnings.append(DataWarning(message, "layout", "images"))
        reading.warnings += self._shard_warnings(rows)
        return reading

    def _list_warnings(self, rows: list[ImageRow]) -> Iterator[DataWarning]:
        """Say that a list gives the images other labels than the folders do."""
        found = self._lists
        if found is None:
            return
        if captions := [use.path for use in found.tables if "caption" in use.roles]:
            yield DataWarning(f"{captions[0]} gives captions, which are not read", "layout", LabelLists.name)
        listed = {row.name: row.label for row in found.rows if row.label is not None}
        pairs = {(row.label, listed[row.name]) for row in rows if row.label is not None and row.name in listed}
        if len({label for label, _ in pairs}) < len(pairs) or len({label for _, label in pairs}) < len(pairs):
            paths = ", ".join(use.path for use in found.tables if "label" in use.roles)
            yield DataWarning(f"{paths} gives other labels than the folders", "layout", LabelLists.name)

    @cached_property
    def _lists(self) -> Reading | None:
        """What lists beside the folders say of most images, or None."""
        lists = LabelLists(self.tree, self.options)
        texts = (file.num_bytes for name, file in self.tree.files.items() if name.lower().endswith(LISTS))
        return lists.list_images() if sum(texts) <= MAX_COMPARED_BYTES and lists.recognize() else None

    def _are_lists_meant(self, labels: dict[str, str]) -> bool:
        """Whether lists of several parts give nearly all images labels that cut the folders across, which is said."""
        if self.options.layout == self.name or self._lists is None:
            return False
        uses = [use.path for use in self._lists.tables if "label" in use.roles]
        listed = {row.name: str(row.label) for row in self._lists.rows if row.label is not None}
        pairs = {(folder, listed[name]) for name, folder in labels.items() if name in listed}
        parts = {split_in_words(stem_of(path)) for path in uses} - {None}
        across = len({folder for folder, _ in pairs}) < len(pairs)
        own = len({label for _, label in pairs}) < len(set(labels.values())) > len(labels) / 2
        if len(parts) < 2 or len(listed) < NEARLY * len(self.tree.images) or not (across or own):
            return False
        message = f"the labels are those of {' and '.join(uses[:2])}, not the folders: if these are the classes"
        self.tree.warnings.append(DataWarning(f"{message}, choose the layout", "layout", self.name))
        return True

    def _class(self, name: str) -> str | None:
        return self.folders.of(self.tree.path(name))[0]

    def _split(self, name: str) -> str | None:
        return self.folders.of(self.tree.path(name))[1] or self.tree.container_split(name)

    def _detail(self) -> str:
        return f"below {self.folders.wrapper.rstrip('/')}" if self.folders.wrapper else ""

    def _are_by_name(self, labels: dict[str, str]) -> bool:
        """Whether folders are parts of the set by the names of their images, which is said."""
        numbered = are_numbered_on(labels) and len(next(iter(labels.values()))) >= SHARD_DIGITS
        if not numbered and not (labels and are_pieces_of_names(self.folders, map(self.tree.path, labels))):
            return False
        shown = f"the folders {', '.join(sorted(set(labels.values()))[:2])}, … are read as parts of the set"
        message = f"{shown}, since the names of the images go on with theirs: if they are classes, choose the layout"
        self.tree.warnings.append(DataWarning(message, "layout", self.name))
        return True

    def _shard_warnings(self, rows: list[ImageRow]) -> Iterator[DataWarning]:
        """Say that folders of a few digits may be parts of the set, since their images are numbered on."""
        if are_numbered_on({row.name: str(row.label) for row in rows if row.label is not None}):
            message = (
                "the folders are read as classes, and the numbers of the images go on with theirs: if they are parts"
            )
            yield DataWarning(f"{message} of the set, choose the layout", "layout", "images")

    def _are_shards(self, names: set[str]) -> bool:
        """Whether folders of digits are parts of one set: with texts beside the images, or tables of their name."""
        if not names or not all(name.isdecimal() for name in names):
            return False
        tables = {posixpath.basename(name) for name in self.tree.files}
        if any(f"{name}.parquet" in tables or f"{name}_stats.json" in tables for name in names):
            return True
        return bool(SiblingFiles(self.tree.files, self.tree.images, self.tree.in_archives).by_stem)

    def _are_ranges(self, labels: dict[str, str]) -> bool:
        """Whether folders are numbered as the images in them are (FFHQ's 00000, 01000, …)."""
        folders = sorted(set(labels.values()))
        if len(folders) < 2 or not all(name.isdecimal() for name in folders) or not folders[0].startswith("00"):
            return False
        if len({len(name) for name in folders}) > 1 or _next_to_each_other(folders):
            return False
        ends = dict(zip(folders, [*map(int, folders[1:]), sys.maxsize], strict=True))
        stems = ((posixpath.splitext(posixpath.basename(name))[0], folder) for name, folder in labels.items())
        return all(
            stem.isdecimal()
            and int(folder) <= int(stem)
            and (ends[folder] is None or int(stem) < int(ends[folder] or 0))
            for stem, folder in stems
        )

    def _is_around_all(self, names: set[str]) -> bool:
        """Whether the one folder of all images is no class: nothing says that it is, neither its name nor splits."""
        if len(names) != 1 or self.options.class_names is not None:
            return False
        split = any(self.folders.of(self.tree.path(name))[1] for name in self.tree.images)
        return self.tree.masked or not (split or re.fullmatch(WNID, next(iter(names))))

    @cached_property
    def folders(self) -> FolderMeaning:
        """What the folders of the images mean."""
        asked = self.options.layout == self.name
        return understand_folders(map(self.tree.path, self.tree.images), first_are_classes=asked)


def _next_to_each_other(folders: list[str]) -> bool:
    """Whether folders of numbers are as near to each other as ids of classes are."""
    return any(int(second) - int(first) == 1 for first, second in pairwise(folders))


def fill_unlabeled(layout: Layout, reading: Reading) -> None:
    """Give images without a class folder the labels of a table or list that names most of them (a flat `val`)."""
    bare = {row.name: row for row in reading.rows if row.label is None}
    if not bare or len(bare) == len(reading.rows):
        return
    classes = sorted({str(row.label) for row in reading.rows if row.label is not None})
    refused: dict[str, Unread] = {}
    for other in _readers_of(layout, bare):
        if not other.recognize():
            refused |= other.rejected if isinstance(other, LabelLists) else {}
            continue
        found = other.list_images()
        for row in found.rows:
            if row.name in bare:
                bare[row.name].label = _as_class(row.label, classes)
                bare[row.name].captions = row.captions
        reading.used |= found.used
        reading.tables += found.tables
        layout.problems.merge(other.problems)
        return
    reading.unused |= refused
    _warn_unlabeled(bare, reading)


def _readers_of(layout: Layout, bare: dict[str, ImageRow]) -> Iterator[TableLayout | LabelLists]:
    """Tables and lists of all images without a class folder, and of those without a test part, which often has none."""
    known = [name for name, row in bare.items() if row.split != TEST]
    for names in (list(bare), known) if 0 < len(known) < len(bare) else (list(bare),):
        part = replace(layout.tree)
        part.images = names
        if layout.options.labels is None or not reads_asked_list(part, layout.options):
            yield TableLayout(part, layout.options)
        yield LabelLists(part, layout.options, own_labels=True)


def _as_class(label: RawLabel, classes: list[str]) -> RawLabel:
    """A label as a class's name; a number is the place in the sorted names, where these are no numbers themselves."""
    text = str(label) if label is not None else None
    if text is None or text in classes or not text.isdecimal():
        return text
    return classes[int(text)] if int(text) < len(classes) else None


def _warn_unlabeled(bare: dict[str, ImageRow], reading: Reading) -> None:
    names = [name for name, row in bare.items() if row.split != TEST]
    if names:
        message = f"{len(names)} images lie in no class folder and have no label, such as {names[0]}"
        reading.warnings.append(DataWarning(message, "labels"))
