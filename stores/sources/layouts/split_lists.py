"""Lists of names that cut a data set into parts: train.txt and test.txt of Food-101, PASCAL VOC and others."""

from __future__ import annotations

import posixpath

from stores.sources.fields.splits import WORDS
from stores.sources.layouts.layout import Reading
from stores.sources.layouts.tree import FileTree
from stores.sources.summary import TableUse
from stores.sources.tables.match import ImageIndex

LISTS = {f"{word}.txt": split for word, split in WORDS.items()}
# A list counts when this share of its lines names an image.
MATCHING_SHARE = 0.9


def apply_split_lists(tree: FileTree, reading: Reading) -> None:
    """Give the images whose split nothing else says that of the list of names which has them.

    A list is a text file named by one split word, with a name and nothing else on each line. Lists that disagree, as
    those of several folds do, are not used and say so.
    """
    candidates = _candidates(tree, reading)
    bare = {row.name: row for row in reading.rows if row.split is None} if candidates else {}
    if not bare:
        return
    index = ImageIndex([row.name for row in reading.rows], lambda name: None)
    lists = {path: found for path in candidates if (found := _read(tree, path, index))}
    splits: dict[str, set[str]] = {}
    for path, names in lists.items():
        for name in names:
            splits.setdefault(name, set()).add(_split_of(path))
    if any(len(parts) > 1 for parts in splits.values()):
        reading.unused |= dict.fromkeys(lists, "lists of parts that disagree: an image is in two")
        return
    for path, names in lists.items():
        for name in names & bare.keys():
            bare[name].split = _split_of(path)
        reading.used.add(path)
        reading.tables.append(
            TableUse(path, ["file"], {"file": ["file"], "split": ["the list's name"]}, len(names), len(names))
        )


def _candidates(tree: FileTree, reading: Reading) -> list[str]:
    named = [path for path in tree.files if _file_name(path) in LISTS and path not in reading.used]
    return [path for path in named if path.rpartition(".")[0] not in tree.stems]


def _split_of(path: str) -> str:
    return LISTS[_file_name(path)]


def _file_name(path: str) -> str:
    return path.rpartition("/")[2].lower()


def _read(tree: FileTree, path: str, index: ImageIndex) -> set[str]:
    """The images that a list names, one a line; none where it is a list of other things."""
    lines, folder = tree.lines(path), posixpath.dirname(path)
    names = {name for line in lines if (name := index.find(line, folder)) is not None}
    return names if len(names) >= MATCHING_SHARE * len(lines) else set()
