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
from stores.sources.fields.splits import TEST, split_of_folder
from stores.sources.folders.meaning import FolderMeaning, understand_folders
from stores.sources.folders.nodes import says_nothing
from stores.sources.folders.same_names import are_called_like_images, are_pairs, may_be_pairs
from stores.sources.layouts.layout import ImageRow, Layout, Reading
from stores.sources.layouts.sibling_files import SiblingFiles
from stores.sources.layouts.table import TableLayout
from stores.sources.lists.label_lists import LabelLists
from stores.sources.lists.lines import LISTS
from stores.sources.lists.values import WNID
from stores.sources.summary import DataWarning

# Lists above this are not compared with the folders: that would take longer than all else of a listing.
MAX_COMPARED_BYTES = 16 * 1024 * 1024
_PIECE = re.compile(r"[0-9a-fA-F]{1,4}")


class ClassFolders(Layout):
    """The first folder below wrappers and splits is the class (ImageNet, Imagenette, CUB, …)."""

    name = "class-folders"
    description = "one folder of images a class"

    def recognize(self) -> int:
        labels = {name: label for name in self.tree.images if (label := self._class(name)) is not None}
        names = set(labels.values())
        parts = self._are_shards(names) or self._are_ranges(labels) or _are_pieces_of_names(labels)
        if parts or self._is_around_all(names) or are_called_like_images(labels):
            return 0
        if are_pairs(labels):
            message = f"the folders {', '.join(sorted(names))} hold images of the same names and are read as pairs"
            self.tree.warnings.append(
                DataWarning(f"{message}: if they are classes, choose the layout", "layout", self.name)
            )
            return 0
        return len(labels)

    def list_images(self) -> Reading:
        rows = [ImageRow(name, self._class(name), split=self._split(name)) for name in self.tree.images]
        reading = Reading(rows, detail=self._detail())
        fill_unlabeled(self, reading)
        reading.warnings += [*self._domain_warnings(), *self._split_warnings(rows), *self._list_warnings(rows)]
        if may_be_pairs({row.name: str(row.label) for row in rows if row.label is not None}):
            message = "the folders hold images of the same names: if they are pairs and no classes, choose the layout"
            reading.warnings.append(DataWarning(message, "layout", "images"))
        return reading

    def _domain_warnings(self) -> Iterator[DataWarning]:
        """Say that the folders may be domains of the same classes (Office-31, PACS, DomainNet)."""
        if domains := self.folders.domains:
            shown = f"the {len(domains)} folders {domains[0]}, … have the same folders, which are read as the classes"
            yield DataWarning(f"{shown}: if the {len(domains)} are the classes, choose the layout", "layout", self.name)
            return
        below: dict[str, set[str]] = {}
        for name in self.tree.images:
            path = self._path(name)
            folders = path.removeprefix(self.folders.wrapper).split("/")[:-1]
            top = [folder for folder in folders if not split_of_folder(folder)]
            if top and self.folders.of(path)[0] == top[0]:
                below.setdefault(top[0], set()).add("/".join(top[1:]))
        common = set.intersection(*below.values()) if len(below) > 1 else set[str]()
        if len(common - {""}) > 1 and not all(map(says_nothing, common)):
            shown = ", ".join(sorted(common)[:2])
            message = f"each class, such as {min(below)}, has the same folders ({shown}, …): if these are the classes"
            yield DataWarning(f"{message}, name one of the folders", "path", f"{self.tree.where}/{min(below)}")

    def _split_warnings(self, rows: list[ImageRow]) -> Iterator[DataWarning]:
        """Say that a folder named like a split is read as a class."""
        classes = {str(row.label) for row in rows if row.label is not None}
        for name in sorted(name for name in classes if split_of_folder(name)):
            if not any(row.split for row in rows):
                message = f"the folder {name} is read as a class, as those beside it are: if it is a split"
                yield DataWarning(f"{message}, choose the layout", "layout", "images")

    def _list_warnings(self, rows: list[ImageRow]) -> Iterator[DataWarning]:
        """Say that a list gives the images other labels than the folders do."""
        lists = LabelLists(self.tree, self.options)
        texts = (file.num_bytes for name, file in self.tree.files.items() if name.lower().endswith(LISTS))
        if sum(texts) > MAX_COMPARED_BYTES or not lists.recognize():
            return
        listed = {row.name: row.label for row in lists.list_images().rows if row.label is not None}
        pairs = {(row.label, listed[row.name]) for row in rows if row.label is not None and row.name in listed}
        if len({label for label, _ in pairs}) < len(pairs) or len({label for _, label in pairs}) < len(pairs):
            paths = ", ".join(use.path for use in lists.list_images().tables if "label" in use.roles)
            yield DataWarning(f"{paths} gives other labels than the folders", "layout", lists.name)

    def _class(self, name: str) -> str | None:
        return self.folders.of(self._path(name))[0]

    def _split(self, name: str) -> str | None:
        return self.folders.of(self._path(name))[1] or self.tree.container_split(name)

    def _detail(self) -> str:
        return f"below {self.folders.wrapper.rstrip('/')}" if self.folders.wrapper else ""

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
        split = any(self.folders.of(self._path(name))[1] for name in self.tree.images)
        return self.tree.masked or not (split or re.fullmatch(WNID, next(iter(names))))

    @cached_property
    def folders(self) -> FolderMeaning:
        """What the folders of the images mean."""
        asked = self.options.layout == self.name
        return understand_folders(map(self._path, self.tree.images), first_are_classes=asked)

    def _path(self, name: str) -> str:
        return self.tree.files[name].path.removeprefix(self.tree.wrapper)


def _are_pieces_of_names(labels: dict[str, str]) -> bool:
    """Whether each folder is called by the first digits of hashes or the last ones of numbers that name its images."""
    if all(map(_begins_like_its_folders, labels)):
        return True
    folders = set(labels.values())
    if len(folders) < 2 or len({len(folder) for folder in folders}) > 1 or not all(map(_PIECE.fullmatch, folders)):
        return False
    stems = [(posixpath.splitext(posixpath.basename(name))[0].lower(), one.lower()) for name, one in labels.items()]
    hashed = any(map(str.isdecimal, folders)) and not all(map(str.isdecimal, folders))
    if hashed and all(re.fullmatch(r"[0-9a-f]{16,}", stem) and stem.startswith(one) for stem, one in stems):
        return True
    ends = all(stem.isdecimal() and len(one) > 1 and stem.zfill(len(one)).endswith(one) for stem, one in stems)
    return ends and any(int(stem) != int(one) for stem, one in stems)


def _begins_like_its_folders(name: str) -> bool:
    """Whether an image lies in two and more folders of the first digits of its name ("0/1/a/01a5c3.jpg")."""
    *folders, base = name.lower().split("/")
    return any(
        base.startswith("".join(folders[-count:])) and all(map(_PIECE.fullmatch, folders[-count:]))
        for count in range(2, len(folders) + 1)
    )


def _next_to_each_other(folders: list[str]) -> bool:
    """Whether folders of numbers are as near to each other as ids of classes are."""
    return any(int(second) - int(first) == 1 for first, second in pairwise(folders))


def fill_unlabeled(layout: Layout, reading: Reading) -> None:
    """Give images without a class folder the labels of a table or list that names most of them (a flat `val`)."""
    bare = {row.name: row for row in reading.rows if row.label is None}
    if not bare or len(bare) == len(reading.rows):
        return
    part = replace(layout.tree)
    # Unlabeled test images are as many as those of val (Tiny ImageNet).
    part.images = [name for name, row in bare.items() if row.split != TEST] or list(bare)
    classes = sorted({str(row.label) for row in reading.rows if row.label is not None})
    for other in (TableLayout(part, layout.options), LabelLists(part, layout.options, own_labels=True)):
        if not other.recognize():
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
    if isinstance(other, LabelLists):
        reading.unused |= other.refused
    _warn_unlabeled(bare, reading)


def _as_class(label: RawLabel, classes: list[str]) -> RawLabel:
    """A label as a class's name; a number is the place in the sorted names, where these are no numbers themselves."""
    text = str(label) if label is not None else None
    if text is None or text in classes or not text.isdecimal():
        return text
    return classes[int(text)] if int(text) < len(classes) else None


def _warn_unlabeled(bare: dict[str, ImageRow], reading: Reading) -> None:
    parts = sorted({row.split or "" for row in bare.values()} - {"test"})
    if parts:
        count = sum(row.split != "test" for row in bare.values())
        message = f"{count} images lie in no class folder and have no label, such as {next(iter(bare))}"
        reading.warnings.append(DataWarning(message, "labels"))
