"""Folders with images of the same names: pairs (low and high light), which are no classes; and folders of one image."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from itertools import pairwise

from stores.sources.fields.splits import FILLERS, word_list, words_of
from stores.sources.folders.nodes import says_nothing

# Words of the folders of pairs, as sets of images to be restored or edited call them.
PAIR_WORDS = frozenset(
    word_list(
        "low high light lowlight dark bright blur blurred blurry sharp noisy noise clean hazy haze clear rain rainy "
        "norain input inputs target targets source output outputs before after lr hr lq hq gt ground truth degraded "
        "restored edited original bicubic"
    )
)
# More folders of the same names, as of objects seen from the same sides, are classes.
MOST_FOLDERS = 3
LEAST_PAIRS = 3
# Fewer folders of one image each are classes.
LEAST_SAMPLES = 3
# So many names that do not just count up are no chance.
LEAST_NAMES = 8


def are_pairs(labels: Mapping[str, str]) -> bool:
    """Whether two or three folders are called like those of pairs and hold images of exactly the same names.

    Args:
        labels: the folder of each image.
    """
    names = _common_names(labels)
    sure = len(names) >= LEAST_NAMES or (len(names) >= LEAST_PAIRS and not follow_each_other(names))
    words = [set(words_of(folder)) - FILLERS for folder in set(labels.values())]
    common = set.intersection(*words) if words else set[str]()  # the name of the set: DIV2K_HR, DIV2K_LR_bicubic
    return sure and all(own - common and own - common <= PAIR_WORDS for own in words)


def may_be_pairs(labels: Mapping[str, str]) -> bool:
    """Whether two or three folders hold images of exactly the same names, which do not just count up."""
    names = _common_names(labels)
    return len(names) >= LEAST_NAMES and not follow_each_other(names)


def _common_names(labels: Mapping[str, str]) -> set[str]:
    """The names that images in all folders have, nothing where the folders are many or differ."""
    stems: dict[str, set[str]] = {}
    for name, folder in labels.items():
        stems.setdefault(folder, set()).add(_stem(name))
    if not 1 < len(stems) <= MOST_FOLDERS:
        return set()
    first, *others = stems.values()
    return first if all(names == first for names in others) else set()


def follow_each_other(names: set[str]) -> bool:
    """Whether names differ in one number alone, and these numbers are at one distance from each other."""
    skeletons = {re.sub(r"\d+", "0", name) for name in names}
    numbers = sorted({int("".join(re.findall(r"\d+", name)) or 0) for name in names})
    steps = {after - before for before, after in pairwise(numbers)}
    return len(skeletons) == 1 and len(numbers) == len(names) and len(steps) == 1


def are_called_like_images(labels: Mapping[str, str]) -> bool:
    """Whether each of several folders holds but an image of its name, in a folder ("4f2a/images/4f2a.png")."""
    return len(set(labels.values())) > 1 and all(
        _stem(name) == folder != posixpath.basename(posixpath.dirname(name)) for name, folder in labels.items()
    )


def are_samples(labels: Mapping[str, str]) -> bool:
    """Whether each of several folders holds one image, and all have one name, which says nothing ("4f2a/image.png")."""
    stems = {_stem(name) for name in labels}
    one_each = LEAST_SAMPLES <= len(labels) == len(set(labels.values()))
    return one_each and len(stems) == 1 and says_nothing(next(iter(stems)))


def _stem(name: str) -> str:
    """The name of an image without suffix and without the factor of its size ("0801x4")."""
    return re.sub(r"(?<=\d)x[2348]$", "", posixpath.splitext(posixpath.basename(name))[0])
