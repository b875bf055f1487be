"""Lists of labels and captions without a header, as ImageNet's tools and many others write them."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from functools import cached_property

from stores.sources.fields.splits import split_in_words, split_of_folders, words_of
from stores.sources.layouts.layout import ImageRow, Layout, Reading
from stores.sources.layouts.tree import FileTree
from stores.sources.lists.class_lists import ClassLists, class_lists
from stores.sources.lists.id_lists import lists_by_number
from stores.sources.lists.lines import LISTS, columns_of_lists, is_joint, lines_of_file, stem_of, without_comments
from stores.sources.lists.own_values import OWN_VALUES, family_of, with_own_values
from stores.sources.lists.pairs import name_images, pair_of, turned_pair
from stores.sources.lists.values import WNID, ListValues, values_of
from stores.sources.options import SourceOptions
from stores.sources.paths import SourceError
from stores.sources.summary import DataWarning, TableUse, Unread
from stores.sources.tables.match import ImageIndex, is_path_of

# A list of WordNet ids that all differ is one of classes, unless its name has one of these words.
LABEL_WORDS = frozenset(("label", "labels", "val", "validation", "annotations"))
# Of lists that give the same images other labels, the one with such a word.
FINE_WORDS = frozenset(("label", "labels", "class", "classes", "fine", "variant", "species", "breed"))
# Lists count when they name more than this share of the images together.
MOST = 0.5
MAX_LISTS = 64
OF_NAMES = Unread(
    "a list of names of images alone; if its own name is their class, put both into a table (.csv)",
    "labels",
    unless="fields",
)
# So many lines show what a list is.
FEW_LINES = 100
OF_DEVKIT = Unread(
    "its ids are those of the development kit's meta.mat, which is not read; give names or LOC_val_solution.csv"
)


class LabelLists(Layout):
    """Text files with a file name and a label or caption on each line, or with labels in the order of the file names.

    The first as in Caffe's val.txt and Tiny ImageNet's val_annotations.txt, the second, WordNet ids, as in
    imagenet_2012_validation_synset_labels.txt.
    """

    name = "label-list"
    description = "a text file with a file name and a label or caption on each line"

    def __init__(self, tree: FileTree, options: SourceOptions, own_labels: bool = False) -> None:
        """`own_labels`: each image may have a label of its own, since the classes are known from other images."""
        super().__init__(tree, options)
        self._own_labels = own_labels
        # Lists of labels alone, in the order of the file names.
        self._ordered: set[str] = set()
        # Images that a list calls by their whole name.
        self._whole: set[str] = set()
        self._classes = ClassLists()

    def recognize(self) -> int:
        named = sum(map(len, self._chosen.values()))  # none names an image again
        captioned = len({name for values in self._lists.values() for name in values.captions})
        counts = [len(self._classes.named), *(len(values.splits) for values in self._lists.values())]
        least = MOST * len(self.tree.images) if self.options.labels is None else 0
        return max((n for n in (named, captioned, *counts) if n > least), default=0)

    def list_images(self) -> Reading:
        partition = max(self._partitions, key=lambda path: (len(self._partitions[path]), path), default=None)
        if not self._lists:
            raise SourceError(
                f"{self.tree.where}: expected a text file with a file name and a label on each line; received none; "
                "choose another layout"
            )
        labels = {name: label for values in self._chosen.values() for name, label in values.items()}
        captions: dict[str, list[str]] = {}
        for values in self._lists.values():
            for name, texts in values.captions.items():
                captions.setdefault(name, []).extend(texts)
        splits = self._partitions.get(partition or "", {})
        rows = [
            ImageRow(name, labels.get(name), captions.get(name), splits.get(name) or self._split(name))
            for name in self.tree.images
        ]
        uses = [*self._uses(partition)]
        used = {inside for use in uses if (inside := self.tree.inside(use.path))}
        return Reading(rows, used=used, tables=uses, warnings=[*self._rival_warnings(), *self._classes.warnings()])

    def _uses(self, partition: str | None) -> list[TableUse]:
        named = [(path, "label", len(values)) for path, values in self._chosen.items()]
        named += [(path, "caption", len(values.captions)) for path, values in self._lists.items() if values.captions]
        named += [(partition, "split", len(self._partitions[partition]))] if partition else []
        givers = {path for path, _ in self._list_splits.values()} - {path for path, _, _ in named}
        named += [(giver, "split", len(self._split_names[giver])) for giver in sorted(givers)]
        return [
            TableUse(path, ["file", role], {"file": ["file"], role: [role]}, count, count)
            for path, role, count in named
        ]

    @property
    def says_something(self) -> bool:
        """Whether there is a list that names images, be they few, and gives them something."""
        return bool(self._lists)

    @property
    def roles(self) -> set[str]:
        """What the lists give."""
        captions = {"caption"} if any(values.captions for values in self._lists.values()) else set[str]()
        return captions | ({"label"} if self._chosen else set())

    @property
    def named(self) -> set[str]:
        """The images to which a list gives a label or captions, by their whole name with the suffix."""
        named = {name for values in self._lists.values() for name in (*values.labels, *values.captions)}
        return named & self._whole

    # Which of the lists count

    @cached_property
    def _chosen(self) -> dict[str, dict[str, str]]:
        """The lists of labels that go together (train.txt and val.txt); none names an image again.

        Lists that name their images come before those of labels alone, those of one part before those of several, and
        of families that name the same images the one that tells most classes apart.
        """
        chosen: dict[str, dict[str, str]] = {}
        known: dict[str, str] = {}
        for path in sorted(self._labels, key=self._rank):
            values = self._labels[path]
            fresh = {name: label for name, label in values.items() if name not in known}
            agree = all(known[name] == label for name, label in values.items() if name in known)
            if fresh and (len(fresh) == len(values) or (agree and is_joint(path))):
                chosen[path] = fresh
                known |= fresh
        return chosen

    def _rank(self, path: str) -> tuple[object, ...]:
        family = self._families[family_of(path)]
        labels = {label for values in family for label in values.values()}
        images = {name for values in family for name in values}
        fine = bool(set(words_of(stem_of(path))) & FINE_WORDS)
        return (
            path in self._ordered,
            -len(images),
            -len(labels),
            not fine,
            is_joint(path),
            -len(self._labels[path]),
            path,
        )

    @cached_property
    def _families(self) -> dict[str, list[dict[str, str]]]:
        """Lists of labels by what their names say beside the split."""
        families: dict[str, list[dict[str, str]]] = {}
        for path, values in self._labels.items():
            families.setdefault(family_of(path), []).append(values)
        return families

    def _rival_warnings(self) -> list[DataWarning]:
        """Say which lists give other labels for the same images."""
        chosen = {name: label for values in self._chosen.values() for name, label in values.items()}
        families = {family_of(path) for path in self._chosen}
        rivals: dict[str, str] = {}
        for path, values in self._labels.items():
            other = family_of(path) not in families
            if other and any(chosen.get(name, label) != label for name, label in values.items()):
                rivals.setdefault(family_of(path), path)
        first = next(iter(self._chosen), "")
        return [
            DataWarning(f"{path} gives other labels than {first} and is not used", "labels", path)
            for path in rivals.values()
        ]

    # Splits

    def _split(self, name: str) -> str | None:
        return self._folder_split(name) or self._list_splits.get(name, ("", None))[1]

    @cached_property
    def _list_splits(self) -> dict[str, tuple[str, str | None]]:
        """The list whose name says an image's split, and this split; lists of several parts together come last."""
        splits: dict[str, tuple[str, str | None]] = {}
        for path in sorted(self._split_names, key=lambda path: (is_joint(path), path not in self._chosen)):
            for name in self._split_names[path]:
                splits.setdefault(name, (path, split_in_words(stem_of(path))))
        return splits

    @cached_property
    def _split_names(self) -> dict[str, set[str]]:
        """The images of each list whose name says a split."""
        named = {path: values for path, values in self._lists.items() if split_in_words(stem_of(path))}
        return {path: values.labels.keys() | values.captions.keys() for path, values in named.items()}

    def _folder_split(self, name: str) -> str | None:
        return split_of_folders(posixpath.dirname(self.tree.path(name)))

    @cached_property
    def _partitions(self) -> dict[str, dict[str, str]]:
        """Lists that give the split of each image, as CelebA's list_eval_partition.txt does."""
        return {path: values.splits for path, values in self._lists.items() if values.splits}

    @cached_property
    def _labels(self) -> dict[str, dict[str, str]]:
        return {path: values.labels for path, values in self._lists.items() if values.labels}

    # Reading

    @cached_property
    def _lists(self) -> dict[str, ListValues]:
        if self.options.labels is not None:
            path = self.options.labels
            return {path: values} if (values := self._read(path, lines_of_file(path))) else {}
        of_devkit = [name for name in self.tree.files if name.endswith("validation_ground_truth.txt")]
        self.rejected |= dict.fromkeys(of_devkit, OF_DEVKIT)
        apart = {*of_devkit, *lists_by_number(self.tree)}
        names = [name for name in self.tree.files if name.lower().endswith(LISTS) and name not in apart]
        tried = [name for name in names if name.rpartition(".")[0] not in self.tree.stems][:MAX_LISTS]
        read = {name: self.tree.lines(name) for name in tried}
        columns = {posixpath.dirname(name): found for name in tried if (found := columns_of_lists(read[name]))}
        lists = {
            name: self._read(name, read[name], columns_of_lists(read[name]) or columns.get(posixpath.dirname(name), []))
            for name in tried
        }
        left = {name: read[name] for name in tried if not lists[name]}
        self._classes = class_lists(left, self._images.find, len(self.tree.images))
        for name, labels in self._classes.labels.items():
            lists[name] = ListValues(labels=labels)
        for name in sorted(self._classes.several):
            self.problems.add("image of several classes: it has no label", f"{self.tree.where}: {name}")
        for name in tried:
            if not lists[name] and self._are_names(read[name], posixpath.dirname(name)):
                self.rejected[name] = OF_NAMES
        if not self._own_labels:
            for name in with_own_values({n: values.labels for n, values in lists.items() if n not in self._ordered}):
                lists[name].labels.clear()
                self.rejected[name] = OWN_VALUES
        return {name: values for name, values in lists.items() if values}

    def _read(self, path: str, lines: list[str], columns: Sequence[str] = ()) -> ListValues:
        if lines and all(re.fullmatch(WNID, line) for line in lines):
            part = self._folder_of(len(lines)) if not _is_list_of_classes(path, lines) else []
            self._ordered.add(path)
            return ListValues(labels=dict(zip(sorted(part), lines, strict=True)) if part else {})
        folder = posixpath.dirname(path) if path in self.tree.files else ""
        split = split_in_words(stem_of(path))
        lines = without_comments(lines)
        for parse in (pair_of, turned_pair):
            fields = [pair for line in lines if (pair := parse(line))]
            fields = fields if name_images(fields, len(lines)) else []
            known = [(word, name, rest) for word, rest in fields if (name := self._images.find(word, folder, split))]
            if len(known) > MOST * len(lines) or len(known) > MOST * len(self.tree.images):
                self._whole |= {name for word, name, _ in known if is_path_of(word, name)}
                values = values_of(path, [(name, rest) for _, name, rest in known], columns)
                return ListValues() if parse is turned_pair and _are_numbers_of_images(values) else values
        return ListValues()

    def _are_names(self, lines: Sequence[str], folder: str) -> bool:
        """Whether the first lines are names of images and nothing else."""
        return bool(lines) and all(self._images.find(line, folder) is not None for line in lines[:FEW_LINES])

    def _folder_of(self, count: int) -> list[str]:
        """The images of the one folder that has so many."""
        folders: dict[str, list[str]] = {}
        for name in self.tree.images:
            folders.setdefault(posixpath.dirname(name), []).append(name)
        fitting = [names for names in folders.values() if len(names) == count]
        return fitting[0] if len(fitting) == 1 else []

    @cached_property
    def _images(self) -> ImageIndex:
        return ImageIndex(self.tree.images, self._folder_split)


def reads_asked_list(tree: FileTree, options: SourceOptions) -> bool:
    """Whether the file of labels that the user names is a list without a header."""
    path = options.labels or ""
    asked = (options.file_column, options.label_column, options.caption_column, options.split_column)
    if any(asked) or not path.lower().endswith(LISTS) or not os.path.isfile(path):
        return False
    first = next((line for line in lines_of_file(path) if not line.startswith("#")), "")
    index = ImageIndex(tree.images, lambda name: None)
    named = any(pair and index.find(pair[0]) for pair in (pair_of(first), turned_pair(first)))
    return named and LabelLists(tree, options).says_something


def _is_list_of_classes(path: str, lines: list[str]) -> bool:
    """Whether WordNet ids are those of the classes (wnids.txt), not of images one after the other."""
    return len(set(lines)) == len(lines) and not set(words_of(stem_of(path))) & LABEL_WORDS


def _are_numbers_of_images(values: ListValues) -> bool:
    """Whether labels before the names of images are ids of these, each of which has its own."""
    return 0 < len(values.labels) == len(set(values.labels.values()))
