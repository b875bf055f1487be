"""Images that are no images of the data set but masks or maps of others: trimaps, segmentations, depths."""

from __future__ import annotations

import functools
import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from stores.sources.fields.splits import FILLERS, WORDS, split_of_folder, word_list, words_of
from stores.sources.layouts.folders import says_nothing
from stores.sources.layouts.table import TableLayout
from stores.sources.layouts.tree import FileTree
from stores.sources.options import SourceOptions

REASON = (
    "masks, maps or thumbnails of the images with the same names; any layout that is asked for takes them for images"
)
# Words of folders and names by which public sets call the second image of each image, JPEG files or not.
SURE_WORDS = frozenset(
    word_list(
        "mask masks masklabel trimap trimaps segmentation segmentations annotation annotations annot anno gt "
        "groundtruth truth thumb thumbs thumbnail thumbnails conditioning"
    )
)
MASK_WORDS = SURE_WORDS | frozenset(
    word_list("seg label labels depth depths matte mattes alpha parsing contour contours saliency semantic")
)
LONGEST_WORD = max(map(len, MASK_WORDS))
MASK_FILLERS = FILLERS | frozenset(
    word_list("class object instance semantic ground fine coarse map maps raw ids id rgb")
)
# Folders of images beside those of their depths.
COLOR_WORDS = frozenset(("rgb", "color", "colour"))
LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".gif")
# So many of a folder's images must have the name of an image elsewhere.
MATCHING_SHARE = 0.9
# So many of the images of a folder must have a mask beside them there.
LEAST_MASKED = 0.5
_FUSED = re.compile(r"(?:train|val|valid|test|trainval)(annot|annots|masks?|labels?|gt|seg)")


def second_images(images: Iterable[str]) -> dict[str, str]:
    """The reason by name for each image that is a mask or map of another one.

    These are images in a folder that is called so, nearly all of which have the name of an image beside that folder,
    or that name with more behind it ("aachen_000000_gtFine_labelIds.png"): in the folder above it, or in one that says
    nothing of its images ("images", "JPEGImages", "train"). A folder with a meaning of its own ("no_mask", "shoes") is
    a class, and so is one of masks beside it, unless the masks themselves are called so too or both folders share
    their other words ("ISIC_Input", "ISIC_GroundTruth"). And these are images with such a word behind the name of one
    in the same folder ("1_mask.png" beside "1.jpg"), where most images have one.
    """
    names = list(images)
    start = _common_folder(names)
    plain, groups = list[str](), dict[str, list[str]]()
    for name in names:
        folder = _mask_folder(name.rpartition("/")[0], start)
        if folder is None:
            plain.append(name)
        else:
            groups.setdefault(folder, []).append(name)
    found = _beside(plain)
    for folder, masks in groups.items():
        if _Masks(folder, masks).belong_to(plain):
            found |= set(masks)
    return dict.fromkeys(found, REASON)


def leave_out_second_images(tree: FileTree, options: SourceOptions) -> None:
    """Take the masks and maps out of a tree's files and images, but for those that a table names."""
    found = second_images(tree.images)
    if not found:
        return
    named = {name for reading in TableLayout(tree, options).readings for name in reading.found}
    for name in found.keys() - named:
        tree.skipped[name] = found[name]
        del tree.files[name]
    tree.images = [name for name in tree.images if name in tree.files]
    tree.masked = bool(found.keys() - named)


@dataclass
class _Masks:
    """The images of a folder that is called like one of masks."""

    folder: str
    names: list[str]

    def belong_to(self, plain: list[str]) -> bool:
        """Whether nearly all have the name of an image beside their folder."""
        beside: dict[str, list[str]] = {}
        parent = self.folder.rpartition("/")[0]
        start = f"{parent}/" if parent else ""
        for name in plain:
            if name.startswith(start):
                part, slash, _ = name.removeprefix(start).partition("/")
                beside.setdefault(part if slash else "", []).append(name)
        stems: set[str] = set()
        for part, names in beside.items():
            if self._may_mask(part, names):
                stems |= _stems(names)
        masked = sum(_image_of(_base(name), stems) is not None for name in self.names)
        return masked >= MATCHING_SHARE * len(self.names)

    def _may_mask(self, beside: str, names: list[str]) -> bool:
        """Whether these can be masks of the images in a folder beside theirs, by its name, "" for the folder above."""
        words = set(_folder_words(self.folder.rpartition("/")[2]))
        own = words - MASK_WORDS - MASK_FILLERS - WORDS.keys()
        lossless = self._share(LOSSLESS) >= MATCHING_SHARE
        if not lossless and not words & SURE_WORDS:
            return False
        meaning = set(words_of(beside)) - FILLERS
        if not beside or says_nothing(beside) or split_of_folder(beside) or (lossless and meaning <= COLOR_WORDS):
            return not own or self._marked
        if not own:
            return self._marked or meaning == words - MASK_WORDS - FILLERS
        differ = lossless and not any(name.lower().endswith(LOSSLESS) for name in names)
        return (self._marked or differ) and own <= set(words_of(beside))

    @functools.cached_property
    def _marked(self) -> bool:
        """Whether the names, too, say that these are masks, behind the first word that they have in common."""
        stems = (posixpath.splitext(posixpath.basename(name))[0] for name in self.names)
        marked = sum(bool(set(words_of(stem)[1:]) & MASK_WORDS) for stem in stems)
        return marked >= MATCHING_SHARE * len(self.names)

    def _share(self, endings: tuple[str, ...]) -> float:
        return sum(name.lower().endswith(endings) for name in self.names) / len(self.names)


def _common_folder(names: list[str]) -> int:
    """How many folders all names have in common."""
    if not names:
        return 0
    low, high = min(names).split("/")[:-1], max(names).split("/")[:-1]
    return len([*takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False))])


def _folder_words(name: str) -> list[str]:
    """The words of a folder's name; "trainannot" is two."""
    words: list[str] = []
    for word in words_of(name):
        fused = _FUSED.fullmatch(word)
        words += [word.removesuffix(fused[1]), fused[1]] if fused else [word]
    return words


@functools.lru_cache(maxsize=4096)  # of each image the folder is asked
def _mask_folder(folder: str, start: int) -> str | None:
    """The path of the folder of masks that a folder is or lies in, below the first `start` ones, or None."""
    parts = folder.split("/")
    for place in range(start, len(parts)):
        if set(_folder_words(parts[place])) & MASK_WORDS:
            return "/".join(parts[: place + 1])
    return None


def _stems(names: list[str]) -> set[str]:
    """What masks may be called by: the names without suffix, without the words that all of them end with."""
    bases = [_base(name) for name in names]
    stems = {_number(base) for base in bases}
    mark = re.search(r"_[a-z][a-z0-9]*$", bases[0]) if len(bases) > 1 else None
    if mark is None or not all(base.endswith(mark[0]) for base in bases):
        return stems
    return stems | {_number(base.removesuffix(mark[0])) for base in bases}


def _image_of(base: str, stems: set[str]) -> str | None:
    """The image's name that a mask's name is or begins with, or None."""
    while base:
        if _number(base) in stems:
            return base
        base = re.sub(r"(^|[_\-. ])[^_\-. ]*$", "", base)
    return None


def _number(base: str) -> str:
    return base.lstrip("0") or "0" if base.isdecimal() else base


def _beside(names: list[str]) -> set[str]:
    """Images with a mask's word behind the name of another image in their folder, where most images have one."""
    marked = {name: stem for name in names if (stem := _unmarked(name))}
    if not marked:
        return set()
    by_folder: dict[str, list[str]] = {}
    for name in names:
        if name not in marked:
            by_folder.setdefault(posixpath.dirname(name), []).append(name)
    stems = {folder: _stems(inside) for folder, inside in by_folder.items()}
    masks = {
        name
        for name, stem in marked.items()
        if _number(posixpath.basename(stem)) in stems.get(posixpath.dirname(name), ())
    }
    masked = Counter(posixpath.dirname(name) for name in masks)
    return {
        name for name in masks if masked[folder := posixpath.dirname(name)] >= LEAST_MASKED * len(by_folder[folder])
    }


def _unmarked(name: str) -> str | None:
    """A name in lower case without suffix and without the mask's word at its end, or None where it has none."""
    stem, _, suffix = name.rpartition(".")
    if stem[-1:].isdigit():  # most are, and there may be millions
        return None
    tail = stem[-LONGEST_WORD - 1 :]
    end = max(tail.rfind("_"), tail.rfind("-"), tail.rfind("."), tail.rfind(" "))
    word = tail[end + 1 :].lower()
    if end < 0 or not (word in SURE_WORDS or (word in MASK_WORDS and f".{suffix.lower()}" in LOSSLESS)):
        return None
    return stem[: -len(word) - 1].lower() or None


def _base(name: str) -> str:
    return posixpath.basename(posixpath.splitext(name)[0]).lower()
