"""Lists that give each image a number and say the rest by these numbers: CUB-200 and NABirds."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from stores.sources.fields.splits import TEST, TRAIN, words_of
from stores.sources.layouts.layout import ImageRow, Reading
from stores.sources.layouts.tree import FileTree
from stores.sources.lists.lines import LISTS, fields_of, stem_of
from stores.sources.lists.values import asks_of_training
from stores.sources.summary import TableUse
from stores.sources.tables.match import ImageIndex, names_an_image

# The list of images; nearly no path ends so, and there may be millions.
IMAGES = tuple(f"images{suffix}" for suffix in LISTS)
# A list counts when this share of its lines fits.
MATCHING_SHARE = 0.9


@dataclass(frozen=True)
class _ImageNumbers:
    """The list of images: its path, and the image by number."""

    path: str
    images: dict[str, str]


def lists_by_number(tree: FileTree) -> set[str]:
    """The lists that say what they say by the numbers of images.txt, none of which are names of images."""
    numbers = _image_numbers(tree, tree.images)
    if numbers is None:
        return set()
    lists = _lists_in(tree, posixpath.dirname(numbers.path))
    return {path for path in lists if path == numbers.path or _values(tree, path, numbers.images)}


def apply_id_lists(tree: FileTree, reading: Reading) -> None:
    """Give the images the splits and labels that lists of "number value" say, where images.txt gives the numbers.

    Names of folders stay the labels; numbers of folders give way to the labels of a list, which are the same classes.
    """
    rows = {row.name: row for row in reading.rows}
    numbers = _image_numbers(tree, list(rows))
    if numbers is None:
        return
    folder = posixpath.dirname(numbers.path)
    for path in _lists_in(tree, folder):
        values = {} if path == numbers.path else _values(tree, path, numbers.images)
        if not values:
            continue
        found = {numbers.images[number]: value for number, value in values.items()}
        role = _role(path, set(values.values()))
        if role == "split":
            _apply_splits(rows, found)
        elif role == "label" and all(row.label is None or str(row.label).isdecimal() for row in reading.rows):
            _apply_labels(rows, found)
        else:
            continue
        reading.used |= {path, numbers.path}
        reading.tables.append(
            TableUse(path, ["number", role], {"file": ["number"], role: [role]}, len(values), len(found))
        )


def _image_numbers(tree: FileTree, names: list[str]) -> _ImageNumbers | None:
    """The list whose lines are a number (or another id) and the path of an image."""
    index: ImageIndex | None = None
    for path in tree.files:
        if not path.lower().endswith(IMAGES) or stem_of(path).lower() != "images":
            continue
        index = index or ImageIndex(names, lambda name: None)
        lines = [line.split(maxsplit=1) for line in tree.lines(path)]
        pairs = [line for line in lines if len(line) == 2 and names_an_image(line[1]) and not names_an_image(line[0])]
        images = {line[0]: name for line in pairs if (name := index.find(line[1], posixpath.dirname(path)))}
        if images and len(images) >= MATCHING_SHARE * len(lines):
            return _ImageNumbers(path, images)
    return None


def _lists_in(tree: FileTree, folder: str) -> list[str]:
    return [path for path in tree.files if path.lower().endswith(LISTS) and posixpath.dirname(path) == folder]


def _values(tree: FileTree, path: str, images: dict[str, str]) -> dict[str, str]:
    """The value of each image's number in a list of pairs, none where it is another list."""
    lines = [fields_of(line) for line in tree.lines(path)]
    values = {line[0]: line[1] for line in lines if len(line) == 2 and line[0] in images}
    return values if len(values) >= MATCHING_SHARE * max(len(lines), len(images)) else {}


def _role(path: str, values: set[str]) -> str:
    """What the values of a list are, by its name: train_test_split.txt, image_class_labels.txt."""
    words = set(words_of(stem_of(path)))
    if values and values <= {"0", "1"} and asks_of_training(path):
        return "split"
    return "label" if words & {"label", "labels", "class"} and all(value.isdecimal() for value in values) else ""


def _apply_splits(rows: dict[str, ImageRow], found: dict[str, str]) -> None:
    for name, value in found.items():
        rows[name].split = rows[name].split or (TRAIN if value == "1" else TEST)


def _apply_labels(rows: dict[str, ImageRow], found: dict[str, str]) -> None:
    for name, value in found.items():
        rows[name].label = value
