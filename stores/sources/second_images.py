"""Images that are no images of the data set but masks or maps of others: trimaps, segmentations, depths."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from stores.sources.fields.splits import FILLERS, WORDS, word_list, words_of

REASON = "masks or maps of the images with the same names"
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
_SUFFIX = re.compile(rf"[_\-. ]({'|'.join(sorted(MASK_WORDS))})$")


def second_images(images: Iterable[str]) -> dict[str, str]:
    """The reason by name for each image that is a mask or map of another one.

    These are lossless images in a folder that is called so, of which nearly all have the name of an image elsewhere,
    and images with such a word behind the name of one in the same folder ("1_mask.png" beside "1.jpg").
    """
    plain, groups = list[str](), dict[str, list[str]]()
    for name in images:
        folder = _mask_folder(name)
        if folder is None:
            plain.append(name)
        else:
            groups.setdefault(folder, []).append(name)
    if not plain:
        return {}
    folders = {posixpath.dirname(name) for name in plain}
    found = _beside(plain) if any(_SUFFIX.search(_stem(name)) for name in plain) else set[str]()
    stems = {_base(name) for name in plain} if groups else set()
    for folder, names in groups.items():
        known = sum(_base(name) in stems for name in names)
        if known >= MATCHING_SHARE * len(names) and not _is_class(folder, folders):
            found |= set(names)
    return dict.fromkeys(found, REASON)


def _mask_folder(name: str) -> str | None:
    """The path of the folder of masks that a lossless image lies in, or None."""
    if not name.lower().endswith(LOSSLESS):
        return None
    parts = name.split("/")[:-1]
    for place, part in enumerate(parts):
        words = set(words_of(part))
        if words & MASK_WORDS and not words - MASK_WORDS - MASK_FILLERS - WORDS.keys():
            return "/".join(parts[: place + 1])
    return None


def _is_class(folder: str, others: set[str]) -> bool:
    """Whether a folder beside it is called by the same word, so that both are classes ("mask" and "no_mask")."""
    parent, _, name = folder.rpartition("/")
    words = set(words_of(name)) & MASK_WORDS
    start = f"{parent}/" if parent else ""
    beside = {other.removeprefix(start).split("/")[0] for other in others if other.startswith(start)}
    return any(words & set(words_of(other)) for other in beside)


def _beside(names: list[str]) -> set[str]:
    """Images with a mask's word behind the name of another image in their folder."""
    stems = {_stem(name) for name in names}
    return {name for name in names if name.lower().endswith(LOSSLESS) and _unmarked(_stem(name)) in stems}


def _unmarked(stem: str) -> str | None:
    found = _SUFFIX.search(stem)
    return stem[: found.start()] if found else None


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0].lower()


def _base(name: str) -> str:
    stem = posixpath.basename(_stem(name))
    return _unmarked(stem) or stem
