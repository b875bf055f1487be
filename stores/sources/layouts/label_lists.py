"""Lists of labels without a header, as ImageNet's tools write them for a flat folder of images."""

from __future__ import annotations

import posixpath
import re
from functools import cached_property

from stores.sources.fields.splits import NUMBERED, words_of
from stores.sources.layouts.layout import ImageRow, Layout, Reading
from stores.sources.paths import SourceError
from stores.sources.summary import TableUse
from stores.sources.tables.match import ImageIndex, names_an_image

WNID = r"n\d{8}"
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

    def recognize(self) -> int:
        return max((len(labels) for labels in (*self._labels.values(), *self._partitions.values())), default=0)

    def list_images(self) -> Reading:
        path, partition = self._longest(self._labels), self._longest(self._partitions)
        if path is None and partition is None:
            raise SourceError(
                f"{self.tree.where}: expected a text file with a file name and a label on each line; received none; "
                "choose another layout"
            )
        labels, splits = self._labels.get(path or "", {}), self._partitions.get(partition or "", {})
        rows = [ImageRow(name, labels.get(name), split=NUMBERED.get(splits.get(name, ""))) for name in self.tree.images]
        named = [(path, "label", labels), (partition, "split", splits)]
        uses = [
            TableUse(one, ["file", role], {"file": ["file"], role: [role]}, len(values), len(values))
            for one, role, values in named
            if one
        ]
        return Reading(rows, used={use.path for use in uses}, tables=uses)

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
        stems = {image.rpartition(".")[0] for image in self.tree.images}
        tried = [name for name in names if name.rpartition(".")[0] not in stems][:32]
        found = {name: self._read(name) for name in tried}
        return {name: labels for name, labels in found.items() if len(labels) * 2 > len(self.tree.images)}

    def _read(self, path: str) -> dict[str, str]:
        with self.tree.open(path) as file:
            lines = [
                line.split() for line in file.read().decode("utf-8", errors="replace").splitlines() if line.strip()
            ]
        if lines and all(len(line) == 1 and re.fullmatch(WNID, line[0]) for line in lines):
            part = self._folder_of(len(lines))
            return dict(zip(sorted(part), (line[0] for line in lines), strict=True)) if part else {}
        folder = posixpath.dirname(path)
        pairs = ((self._images.find(line[0], folder), line[1]) for line in lines if _is_pair(line))
        return {name: label for name, label in pairs if name}

    def _folder_of(self, count: int) -> list[str]:
        """The images of the one folder that has so many."""
        folders: dict[str, list[str]] = {}
        for name in self.tree.images:
            folders.setdefault(posixpath.dirname(name), []).append(name)
        fitting = [names for names in folders.values() if len(names) == count]
        return fitting[0] if len(fitting) == 1 else []

    @cached_property
    def _images(self) -> ImageIndex:
        return ImageIndex(self.tree.images, lambda name: None)


def _is_partition(name: str, values: dict[str, str]) -> bool:
    words = set(words_of(posixpath.basename(name)))
    return bool(words & {"partition", "split", "splits"}) and set(values.values()) <= NUMBERED.keys()


def _is_one_against_all(values: set[str]) -> bool:
    return "-1" in values and values <= {"-1", "0", "1", "+1"}


def _is_pair(line: list[str]) -> bool:
    """Whether a line is a file name and a label; Tiny ImageNet's have a box behind them."""
    if len(line) < 2 or not (names_an_image(line[0]) or len(line[0]) >= 5):
        return False
    return len(line) == 2 or re.fullmatch(WNID, line[1]) is not None
