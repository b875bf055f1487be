"""Folders whose images are named as those of the one folder of images beside them: maps of these of any kind."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from stores.sources.fields.splits import words_of
from stores.sources.folders.nodes import says_nothing
from stores.sources.folders.same_names import follow_each_other
from stores.sources.masks.names import base_of

# Folders are called so that hold the images of a set; "image" may be a class beside "text".
IMAGES_WORDS = frozenset(("images", "imgs", "jpegs"))
# So many images show that equal names are no chance, and this share of them must have an equal.
LEAST_IMAGES, EQUAL_SHARE = 3, 0.9


def folders_of_maps(names: Iterable[str]) -> dict[str, list[str]]:
    """The images of folders beside one of images ("images/7.png", "sobel/7.png"), by folder.

    All folders beside it must hold images of its names, and no others. Names that just count up are no evidence: pages
    of documents may lie in folders of charts, images and tables.
    """
    inside: dict[str, list[str]] = {}
    for name in names:
        inside.setdefault(name.rpartition("/")[0], []).append(name)
    beside: dict[str, list[str]] = {}
    for folder in inside:
        beside.setdefault(posixpath.dirname(folder), []).append(folder)
    found: dict[str, list[str]] = {}
    for folders in beside.values():
        main = [folder for folder in folders if folder and says_nothing(posixpath.basename(folder))]
        others = [folder for folder in folders if folder not in main]
        if len(main) != 1 or not others or not set(words_of(posixpath.basename(main[0]))) & IMAGES_WORDS:
            continue
        stems = set(map(base_of, inside[main[0]]))
        if all(_are_equal(set(map(base_of, inside[folder])), stems) for folder in others):
            found |= {folder: inside[folder] for folder in others}
    return found


def _are_equal(names: set[str], images: set[str]) -> bool:
    least = max(LEAST_IMAGES, EQUAL_SHARE * len(names), EQUAL_SHARE * len(images))
    return len(names & images) >= least and not follow_each_other(names)
