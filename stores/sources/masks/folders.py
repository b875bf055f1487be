"""Folders that are called like ones of masks: whether their images are masks of those beside them."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Iterable, Set
from dataclasses import dataclass
from itertools import takewhile

from stores.sources.fields.splits import FILLERS, WORDS, split_of_folder, words_of
from stores.sources.folders.nodes import says_nothing
from stores.sources.masks.names import base_of, image_of, stems_of
from stores.sources.masks.words import (
    COLOR_WORDS,
    LOSSLESS,
    MASK_FILLERS,
    MASK_WORDS,
    SURE_WORDS,
    folder_words,
    names_masks,
)

# So many of a folder's images must have the name of an image elsewhere.
MATCHING_SHARE = 0.9


@dataclass
class MaskFolder:
    """The images of a folder that is called like one of masks.

    Attributes:
        folder: its path.
        names: its images.
        beside: the images beside it, by the name of their folder; "" is the folder above.
        others: the same of images in folders that are called like ones of masks, with those of this one.
    """

    folder: str
    names: list[str]
    beside: dict[str, list[str]]
    others: dict[str, list[str]]

    def belong_to_images(self) -> bool:
        """Whether nearly all have the name of an image beside their folder."""
        stems: set[str] = set()
        for part, names in self.beside.items():
            if self._may_mask(part, names):
                stems |= stems_of(names)
        masked = sum(image_of(base_of(name), stems) is not None for name in self.names)
        return masked >= MATCHING_SHARE * len(self.names)

    @property
    def lie_beside_one_image(self) -> bool:
        """Whether they are surely called masks and lie beside one folder, which says nothing and has one image."""
        sure = bool(set(folder_words(self.folder.rpartition("/")[2])) & SURE_WORDS)
        return sure and [says_nothing(part) and len(names) == 1 for part, names in self.beside.items()] == [True]

    @functools.cached_property
    def are_sure(self) -> bool:
        """Whether more than the folder's name says so: the names of the masks, or files without loss beside JPEGs."""
        lossless = self._lossless and not any(_share(names, LOSSLESS) > 0 for names in self.beside.values())
        return self._marked or lossless

    @property
    def lie_among_classes(self) -> bool:
        """Whether, where nothing else is sure, as many folders beside have a meaning of their own as have none."""
        if self.are_sure:
            return False
        empty = sum(_is_empty(part) or self._is_color(part) for part in self.beside)
        classes = len(self.beside) - empty
        classes += sum(not _may_hold_masks(part, names) for part, names in self.others.items() if part)
        return classes >= empty

    def _may_mask(self, beside: str, names: list[str]) -> bool:
        """Whether these can be masks of the images in a folder beside theirs, by its name, "" for the folder above."""
        if not _may_hold_masks(self.folder.rpartition("/")[2], self.names):
            return False
        words = set(folder_words(self.folder.rpartition("/")[2]))
        own = words - MASK_WORDS - MASK_FILLERS - WORDS.keys()
        if _is_empty(beside) or self._is_color(beside):
            return not own or self._marked
        differ = self._lossless and not any(name.lower().endswith(LOSSLESS) for name in names)
        if own:
            return (self._marked or differ) and own <= set(words_of(beside))
        meaning = set(words_of(beside)) - FILLERS
        alike = bool(meaning) and meaning == words - MASK_WORDS - FILLERS
        sure = differ and bool(words & SURE_WORDS) and _lie_in_image_folder(self.folder, beside, names)
        return self._marked or alike or sure  # CUB-200's segmentations lie beside CUB_200_2011/images

    def _is_color(self, beside: str) -> bool:
        """Whether a folder is one of the colors of which these are the depths."""
        meaning = set(words_of(beside)) - FILLERS
        return self._lossless and bool(meaning) and meaning <= COLOR_WORDS

    @functools.cached_property
    def _lossless(self) -> bool:
        return _share(self.names, LOSSLESS) >= MATCHING_SHARE

    @functools.cached_property
    def _marked(self) -> bool:
        """Whether the names, too, say that these are masks, behind the first word that they have in common."""
        stems = (posixpath.splitext(posixpath.basename(name))[0] for name in self.names)
        marked = sum(bool(set(words_of(stem)[1:]) & MASK_WORDS) for stem in stems)
        return marked >= MATCHING_SHARE * len(self.names)


def _share(names: list[str], endings: tuple[str, ...]) -> float:
    return sum(name.lower().endswith(endings) for name in names) / len(names)


def _may_hold_masks(folder: str, names: list[str]) -> bool:
    """Whether images in a folder of this name can be masks: files without loss, or ones that are called so for sure."""
    return bool(set(folder_words(folder)) & SURE_WORDS) or _share(names, LOSSLESS) >= MATCHING_SHARE


def _lie_in_image_folder(folder: str, beside: str, names: list[str]) -> bool:
    """Whether all lie in one folder that says nothing in the folder beside that of the masks ("set/images")."""
    start = f"{folder.rpartition('/')[0]}/{beside}/".removeprefix("/")
    inside = {name.removeprefix(start).partition("/")[0] for name in names}
    return len(inside) == 1 and all("/" in name.removeprefix(start) for name in names) and says_nothing(inside.pop())


def _is_empty(folder: str) -> bool:
    """Whether a folder's name says nothing of its images, or only their split; "" is the folder above."""
    if not folder.isascii() and any(one.isalpha() for one in folder if not one.isascii()):
        return False
    return not folder or says_nothing(folder) or split_of_folder(folder) is not None


def images_beside(names: Iterable[str], parents: Set[str]) -> dict[str, dict[str, list[str]]]:
    """The images below some folders: by the folder, and by the name of the folder there; "" for those in it."""
    found: dict[str, dict[str, list[str]]] = {parent: {} for parent in parents}
    for name in names if parents else ():
        parts = name.split("/")
        for depth in range(len(parts)):
            if (parent := "/".join(parts[:depth])) in found:
                found[parent].setdefault(parts[depth] if depth < len(parts) - 1 else "", []).append(name)
    return found


def common_folder(names: list[str]) -> int:
    """How many folders all names have in common."""
    if not names:
        return 0
    low, high = min(names).split("/")[:-1], max(names).split("/")[:-1]
    return len([*takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False))])


@functools.lru_cache(maxsize=4096)  # of each image the folder is asked
def mask_folder(folder: str, start: int) -> str | None:
    """The path of the folder of masks that a folder is or lies in, below the first `start` ones, or None."""
    parts = folder.split("/")
    for place in range(start, len(parts)):
        if names_masks(parts[place]):
            return "/".join(parts[: place + 1])
    return None
