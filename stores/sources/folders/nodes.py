"""Folders that hold images as a tree, and what their names say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stores.sources.fields.splits import FILLERS, WORDS, without_size, word_list, words_of

EMPTY_WORDS = frozenset(
    ("all", "raw", "original", "originals", "photo", "picture", "sample", "jpegs", "pngs", "center", "rgb")
)
IMAGE_WORDS = frozenset(word_list("image images img imgs jpg jpeg png photos pictures crops files data"))


@dataclass
class Folder:
    """A folder with images at any depth: its subfolders, and how many images lie in it directly and below it."""

    folders: dict[str, Folder] = field(default_factory=dict)
    direct: int = 0
    total: int = 0

    @property
    def holds_leaves(self) -> bool:
        """Whether none of its folders has folders."""
        return all(not folder.folders for folder in self.folders.values())


def folder_tree(paths: Iterable[str]) -> Folder:
    """The folders of some images."""
    root = Folder()
    counts: dict[str, int] = {}
    for path in paths:
        folder = path.rpartition("/")[0]
        counts[folder] = counts.get(folder, 0) + 1
    for folder, count in counts.items():
        node = root
        node.total += count
        for part in folder.split("/") if folder else ():
            node = node.folders.setdefault(part, Folder())
            node.total += count
        node.direct += count
    return root


def says_nothing(name: str) -> bool:
    """Whether a folder's name is one of those that hold any images ("images", "img_256", "JPEGImages")."""
    words = words_of(without_size(name))
    return bool(words) and all(word in FILLERS or word in EMPTY_WORDS for word in words) and not set(words) & set(WORDS)


def says_images(name: str) -> bool:
    """Whether a word of a folder's name is "images" or the like."""
    return not IMAGE_WORDS.isdisjoint(words_of(name))


def join(path: str, name: str) -> str:
    """The path of a folder in another one, which may be the top, ""."""
    return f"{path}/{name}" if path else name
