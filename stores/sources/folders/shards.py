"""Folders that are parts of a set by the names of their images: trees of hashes, and shards whose images go on."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

from stores.sources.fields.splits import split_of_folder
from stores.sources.folders.meaning import FolderMeaning
from stores.sources.folders.nodes import LONG_HASH, are_hashes

_PIECE = re.compile(r"[0-9a-fA-F]{1,4}")
# Names below this length are numbers of images, with the class before them or not.
LONG_NAME = 8
# Folders of fewer digits may be numbers of classes, whatever their images are called.
SHARD_DIGITS = 4


def are_pieces_of_names(folders: FolderMeaning, paths: Iterable[str]) -> bool:
    """Whether the folders of each image are the first digits of its name ("0/1/2/012abc.jpg", "010/0108775015.jpg").

    Folders one in another are such a tree by that alone. Single ones may be classes with their number before that of
    the image ("001/00100012.jpg"), unless what follows is longer than a number or tells all images apart.
    """
    pairs: list[tuple[str, str]] = []
    depths = set[int]()
    for path in paths:
        parts = path.removeprefix(folders.wrapper).split("/")
        pieces = [part for part in parts[:-1] if not split_of_folder(part)]
        stem, joined = posixpath.splitext(parts[-1])[0].lower(), "".join(pieces).lower()
        if not joined or not stem.startswith(joined) or stem == joined or not all(map(_PIECE.fullmatch, pieces)):
            return False
        depths.add(len(pieces))
        pairs.append((joined, stem))
    tops = {joined for joined, _ in pairs}
    if len(tops) < 2 or len(depths) > 1 or len({len(top) for top in tops}) > 1:
        return False
    return depths != {1} or _tell_images_apart(pairs, tops)


def _tell_images_apart(pairs: list[tuple[str, str]], tops: set[str]) -> bool:
    """Whether the names below single folders are hashes, or long numbers whose further digits all differ."""
    digits = [top.isdecimal() for top in tops]
    stems = [stem for _, stem in pairs]
    if not all(re.fullmatch(r"[0-9a-f]+", stem) for stem in stems):
        return False
    if not all(digits) and len(stems[0]) >= LONG_HASH and are_hashes(stems):
        return True
    rests = {stem[len(joined) :] for joined, stem in pairs}
    distinct = len(rests) == len(pairs) > len(tops)
    sure = any(digits) or all(re.search("[a-f]", rest) and re.search("[0-9]", rest) for rest in rests)
    return distinct and sure and len(next(iter(tops))) > 1 and all(len(stem) >= LONG_NAME for stem in stems)


def are_last_digits(labels: Mapping[str, str]) -> bool:
    """Whether each folder is called by the last digits of the numbers that name its images, as Danbooru's "0042"."""
    folders = set(labels.values())
    if len(folders) < 2 or len({len(folder) for folder in folders}) > 1 or not all(map(_PIECE.fullmatch, folders)):
        return False
    zeros = 1 if all(len(one) > 3 and one.startswith("0") for one in folders) else 0
    stems = [(stem.lower(), one.lower()[zeros:]) for stem, one in _stems(labels)]
    ends = all(stem.isdecimal() and len(one) > 1 and stem.zfill(len(one)).endswith(one) for stem, one in stems)
    return ends and any(int(stem) != int(one) for stem, one in stems)


def are_numbered_on(labels: Mapping[str, str]) -> bool:
    """Whether folders of numbers with zeros before them hold the images of that thousand (or other power of ten)."""
    folders = set(labels.values())
    if len(folders) < 2 or len({len(one) for one in folders}) > 1 or len(labels) == len(folders):
        return False
    if not all(one.isdecimal() and one.isascii() for one in folders) or not min(folders).startswith("0"):
        return False
    found: list[tuple[int, int]] = []
    before = set[str]()
    for stem, folder in _stems(labels):
        number = re.search(r"[0-9]+$", stem)
        if number is None or len(number[0]) > 18:
            return False
        before.add(stem[: number.start()])
        found.append((int(number[0]), int(folder)))
        if len(before) > 1:
            return False
    return any(all(number // 10**power == folder for number, folder in found) for power in range(1, 10))


def _stems(labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((posixpath.splitext(posixpath.basename(name))[0], folder) for name, folder in labels.items())
