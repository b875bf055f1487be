"""Folders that hold images as a tree, and what their names say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from stores.sources.fields.splits import FILLERS, WORDS, without_size, word_list, words_of

EMPTY_WORDS = frozenset(
    ("all", "raw", "original", "originals", "photo", "picture", "sample", "jpegs", "pngs", "center", "rgb")
)
# Folders of images that are shown in a README, beside those of classes.
SHOWN = frozenset(word_list("assets asset docs doc figures figs screenshots demo media resources"))
# So many hexadecimal digits, or letters and digits, of one length are hashes, no words.
HASH_DIGITS, LONG_HASH = 8, 16
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


def are_hashes(names: Collection[str]) -> bool:
    """Whether names are random: hexadecimal digits, not numbers, or long, all of one length."""
    lengths = set(map(len, names))
    if len(lengths) != 1 or max(lengths) < HASH_DIGITS:
        return False
    hexadecimal = all(map(_HEX.fullmatch, names)) and not all(map(str.isdecimal, names))
    return hexadecimal or (max(lengths) >= LONG_HASH and all(re.fullmatch(r"[0-9a-zA-Z-]+", name) for name in names))


_HEX = re.compile(r"[0-9a-fA-F-]+")


def join(path: str, name: str) -> str:
    """The path of a folder in another one, which may be the top, ""."""
    return f"{path}/{name}" if path else name
