"""Lists of labels without a header, as ImageNet's tools write them for a flat folder of images."""

from __future__ import annotations

import posixpath
import re
from functools import cached_property

from stores.sources.fields.splits import NUMBERED, split_in_words, split_of_folders, words_of
from stores.sources.layouts.layout import ImageRow, Layout, Reading
from stores.sources.layouts.tree import FileTree
from stores.sources.options import SourceOptions
from stores.sources.paths import SourceError
from stores.sources.summary import TableUse
from stores.sources.tables.match import ImageIndex, names_an_image

WNID = r"n\d{8}"
# A list of WordNet ids that all differ is one of classes, unless its name has one of these words.
LABEL_WORDS = frozenset(("label", "labels", "val", "validation", "annotations"))
# Scores and checksums.
_NO_LABEL = re.compile(r"[-+]?\d*\.\d*[1-9]\d*(e[-+]?\d+)?|[0-9a-fA-F]{32,}")
# Lists count when they name more than this share of the images together.
MOST = 0.5
DEVKIT_REASON = (
    "its ids are those of the development kit's meta.mat, which is not read; give names or LOC_val_solution.csv"
)


class LabelLists(Layout):
    """Text files with a file name and a label on each line, or with labels in the order of the file names.

    The first as in Caffe's val.txt and Tiny ImageNet's val_annotations.txt, the second, WordNet ids, as in
    imagenet_2012_validation_synset_labels.txt.
    """

    name = "label-list"
    description = "a text file with a file name and a label on each line"

    def __init__(self, tree: FileTree, options: SourceOptions) -> None:
        super().__init__(tree, options)
        # Lists of labels alone, in the order of the file names.
        self._ordered: set[str] = set()

    def recognize(self) -> int:
        named = sum(map(len, self._chosen.values()))  # none names an image again
        counts = [len(splits) for splits in self._partitions.values()]
        return max((count for count in (named, *counts) if count > MOST * len(self.tree.images)), default=0)

    def list_images(self) -> Reading:
        chosen, partition = self._chosen, self._longest(self._partitions)
        if not chosen and partition is None:
            raise SourceError(
                f"{self.tree.where}: expected a text file with a file name and a label on each line; received none; "
                "choose another layout"
            )
        labels = {name: label for values in chosen.values() for name, label in values.items()}
        lists = {name: split_in_words(_stem(path)) for path, values in chosen.items() for name in values}
        splits = self._partitions.get(partition or "", {})
        rows = [
            ImageRow(name, labels.get(name), None, NUMBERED.get(splits.get(name, "")) or self._split(name, lists))
            for name in self.tree.images
        ]
        named = [(path, "label", values) for path, values in chosen.items()]
        named += [(partition, "split", splits)] if partition else []
        uses = [
            TableUse(one, ["file", role], {"file": ["file"], role: [role]}, len(values), len(values))
            for one, role, values in named
        ]
        return Reading(rows, used={use.path for use in uses}, tables=uses)

    @cached_property
    def _chosen(self) -> dict[str, dict[str, str]]:
        """The lists of labels that go together (train.txt and val.txt), the longest first; none names an image again.

        Lists that name their images come before those of labels alone.
        """
        chosen: dict[str, dict[str, str]] = {}
        known: set[str] = set()
        for path in sorted(self._labels, key=lambda path: (path in self._ordered, -len(self._labels[path]), path)):
            if known.isdisjoint(self._labels[path]):
                chosen[path] = self._labels[path]
                known |= chosen[path].keys()
        return chosen

    def _split(self, name: str, lists: dict[str, str | None]) -> str | None:
        return self._folder_split(name) or lists.get(name)

    def _folder_split(self, name: str) -> str | None:
        return split_of_folders(posixpath.dirname(self.tree.files[name].path))

    @staticmethod
    def _longest(lists: dict[str, dict[str, str]]) -> str | None:
        return max(lists, key=lambda name: (len(lists[name]), name), default=None)

    @cached_property
    def _partitions(self) -> dict[str, dict[str, str]]:
        """Lists that give the split by a number, as CelebA's list_eval_partition.txt does."""
        return {name: values for name, values in self._lists.items() if _is_partition(name, values)}

    @cached_property
    def _labels(self) -> dict[str, dict[str, str]]:
        """The other lists, without those of one class against all others (1 and -1), as PASCAL VOC has them."""
        lists = {name: values for name, values in self._lists.items() if name not in self._partitions}
        return {name: values for name, values in lists.items() if not _is_one_against_all(set(values.values()))}

    @cached_property
    def refused(self) -> dict[str, str]:
        """Lists that name labels in a way that is not read."""
        return {name: DEVKIT_REASON for name in self.tree.files if name.endswith("validation_ground_truth.txt")}

    @cached_property
    def _lists(self) -> dict[str, dict[str, str]]:
        names = [name for name in self.tree.files if name.lower().endswith(".txt") and name not in self.refused]
        tried = [name for name in names if name.rpartition(".")[0] not in self.tree.stems][:32]
        found = {name: self._read(name) for name in tried}
        return {name: labels for name, labels in found.items() if labels}

    def _read(self, path: str) -> dict[str, str]:
        lines = [line.split() for line in self.tree.lines(path)]
        if lines and all(len(line) == 1 and re.fullmatch(WNID, line[0]) for line in lines):
            part = self._folder_of(len(lines)) if not _is_list_of_classes(path, lines) else []
            self._ordered.add(path)
            return dict(zip(sorted(part), (line[0] for line in lines), strict=True)) if part else {}
        folder = posixpath.dirname(path)
        split = split_in_words(_stem(path))
        pairs = ((self._images.find(line[0], folder, split), line[1]) for line in lines if _is_pair(line))
        found = {name: label for name, label in pairs if name}
        return found if len(found) > MOST * len(lines) or len(found) > MOST * len(self.tree.images) else {}

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


def _is_list_of_classes(path: str, lines: list[list[str]]) -> bool:
    """Whether WordNet ids are those of the classes (wnids.txt), not of images one after the other."""
    return len({line[0] for line in lines}) == len(lines) and not set(words_of(_stem(path))) & LABEL_WORDS


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def _is_partition(name: str, values: dict[str, str]) -> bool:
    words = set(words_of(posixpath.basename(name)))
    return bool(words & {"partition", "split", "splits"}) and set(values.values()) <= NUMBERED.keys()


def _is_one_against_all(values: set[str]) -> bool:
    return "-1" in values and values <= {"-1", "0", "1", "+1"}


def _is_pair(line: list[str]) -> bool:
    """Whether a line is a file name and a label; Tiny ImageNet's have a box behind them."""
    if len(line) < 2 or not (names_an_image(line[0]) or len(line[0]) >= 5) or _NO_LABEL.fullmatch(line[1]):
        return False
    if names_an_image(line[1]):
        return False
    return len(line) == 2 or re.fullmatch(WNID, line[1]) is not None
