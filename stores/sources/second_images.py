"""Images that are no images of the data set but masks or maps of others: trimaps, segmentations, depths."""

from __future__ import annotations

import functools
import posixpath
import re
from collections import Counter
from collections.abc import Iterable

from stores.sources.fields.splits import FILLERS, WORDS, split_of_folder, word_list, words_of
from stores.sources.layouts.folders import says_nothing
from stores.sources.layouts.table import TableLayout
from stores.sources.layouts.tree import FileTree
from stores.sources.options import SourceOptions

REASON = "masks or maps of the images with the same names; any layout that is asked for takes them for images"
# Words of folders and names by which public sets call the second image of each image.
MASK_WORDS = frozenset(
    word_list(
        "mask masks trimap trimaps segmentation segmentations seg annotation annotations label labels gt groundtruth "
        "truth depth depths matte mattes alpha parsing contour contours saliency"
    )
)
MASK_FILLERS = FILLERS | frozenset(word_list("class object instance semantic ground fine coarse map maps raw ids id"))
LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".gif")
# So many of a folder's images must have the name of an image elsewhere.
MATCHING_SHARE = 0.9
# So many of the images of a folder must have a mask beside them there.
LEAST_MASKED = 0.5
_SUFFIX = re.compile(rf"[_\-. ]({'|'.join(sorted(MASK_WORDS))})$")


def second_images(images: Iterable[str]) -> dict[str, str]:
    """The reason by name for each image that is a mask or map of another one.

    These are lossless images in a folder that is called so, nearly all of which have the name of an image beside that
    folder: in the folder above it, or in one that says nothing of its images ("images", "JPEGImages", "train").
    A folder with a meaning of its own ("no_mask", "shoes") is a class, and so is one of masks beside it. And these are
    images with such a word behind the name of one in the same folder ("1_mask.png" beside "1.jpg"), where most images
    have one.
    """
    plain, groups = list[str](), dict[str, list[str]]()
    for name in images:
        folder = _mask_folder(posixpath.dirname(name)) if name.lower().endswith(LOSSLESS) else None
        if folder is None:
            plain.append(name)
        else:
            groups.setdefault(folder, []).append(name)
    found = _beside(plain)
    for folder, names in groups.items():
        stems = {_base(name) for name in plain if _may_be_masked(name, folder)}
        if sum(_base(name) in stems for name in names) >= MATCHING_SHARE * len(names):
            found |= set(names)
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


@functools.lru_cache(maxsize=4096)  # of each image the folder is asked
def _mask_folder(folder: str) -> str | None:
    """The path of the folder of masks that a folder is or lies in, or None."""
    parts = folder.split("/")
    for place, part in enumerate(parts):
        words = set(words_of(part))
        if words & MASK_WORDS and not words - MASK_WORDS - MASK_FILLERS - WORDS.keys():
            return "/".join(parts[: place + 1])
    return None


def _may_be_masked(name: str, folder: str) -> bool:
    """Whether the masks in a folder can be those of this image, by the folder that the image lies in beside it."""
    parent, _, masks = folder.rpartition("/")
    start = f"{parent}/" if parent else ""
    if not name.startswith(start):
        return False
    beside, slash, _ = name.removeprefix(start).partition("/")
    if not slash or says_nothing(beside) or split_of_folder(beside):
        return True
    meaning = set(words_of(beside)) - FILLERS
    return bool(meaning) and meaning == set(words_of(masks)) - MASK_WORDS - FILLERS


def _beside(names: list[str]) -> set[str]:
    """Images with a mask's word behind the name of another image in their folder, where most images have one."""
    marked = {name: stem for name in names if name.lower().endswith(LOSSLESS) and (stem := _unmarked(_stem(name)))}
    stems = {_stem(name) for name in names} if marked else set()
    masks = {name for name, stem in marked.items() if stem in stems}
    if not masks:
        return masks
    counts = Counter(posixpath.dirname(name) for name in names if name not in masks)
    masked = Counter(posixpath.dirname(name) for name in masks)
    return {name for name in masks if masked[folder := posixpath.dirname(name)] >= LEAST_MASKED * counts[folder]}


def _unmarked(stem: str) -> str | None:
    found = _SUFFIX.search(stem)
    return stem[: found.start()] if found else None


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0].lower()


def _base(name: str) -> str:
    stem = posixpath.basename(_stem(name))
    return _unmarked(stem) or stem
