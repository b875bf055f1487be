"""Folders with images of the same names, which are pairs (low and high light) and no classes, or with one image."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from itertools import pairwise

# More folders of the same names, as of objects seen from the same sides, are classes.
MOST_FOLDERS = 3
# So many names, not all at one distance from each other, are no chance.
LEAST_NAMES = 8


def are_pairs(labels: Mapping[str, str]) -> bool:
    """Whether a few folders hold images of exactly the same names, which are no plain numbers one after the other.

    Args:
        labels: the folder of each image.
    """
    stems: dict[str, set[str]] = {}
    for name, folder in labels.items():
        stems.setdefault(folder, set()).add(_stem(name))
    if not 1 < len(stems) <= MOST_FOLDERS:
        return False
    first, *others = stems.values()
    return len(first) >= LEAST_NAMES and all(names == first for names in others) and not _follow_each_other(first)


def _follow_each_other(names: set[str]) -> bool:
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


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0]
