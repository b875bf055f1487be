"""Folders whose images are named as those of the folder of images, or of captioned ones, beside them: their maps."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence

from stores.sources.fields.splits import words_of
from stores.sources.folders.nodes import says_nothing
from stores.sources.folders.same_names import follow_each_other
from stores.sources.masks.names import base_of

# Folders are called so that hold the images of a set; "image" may be a class beside "text".
IMAGES_WORDS = frozenset(("images", "imgs", "jpegs"))
# So many images show that equal names are no chance, and this share of them must have an equal.
LEAST_IMAGES, EQUAL_SHARE = 3, 0.9


def folders_of_maps(names: Iterable[str], captioned: Collection[str] = ()) -> dict[str, list[str]]:
    """The images of folders beside one of images ("images/7.png", "sobel/7.png"), by folder.

    All folders beside it must hold images of its names, and no others. Names that just count up are no evidence: pages
    of documents may lie in folders of charts, images and tables. They are where each image of the one folder has a text
    and no other image has ("set/7.png" and "set/7.txt", "set_control/7.png").

    Args:
        names: of the images.
        captioned: names without suffix of those that have a text.
    """
    inside: dict[str, list[str]] = {}
    for name in names:
        inside.setdefault(name.rpartition("/")[0], []).append(name)
    beside: dict[str, list[str]] = {}
    for folder in inside:
        beside.setdefault(posixpath.dirname(folder), []).append(folder)
    found: dict[str, list[str]] = {}
    for folders in beside.values():
        captioned_main = _captioned_folder(folders, inside, captioned)
        main = captioned_main or _folder_of_images(folders)
        others = [folder for folder in folders if folder != main]
        names_in = {folder: set(map(base_of, inside[folder])) for folder in folders} if main is not None else {}
        if main is not None and all(_are_equal(names_in[one], names_in[main], bool(captioned_main)) for one in others):
            found |= {folder: inside[folder] for folder in others}
    return found


def _folder_of_images(folders: Sequence[str]) -> str | None:
    """The one of several folders that says nothing, where it is called like one of images."""
    main = [folder for folder in folders if folder and says_nothing(posixpath.basename(folder))]
    return main[0] if len(main) == 1 and set(words_of(posixpath.basename(main[0]))) & IMAGES_WORDS else None


def _captioned_folder(
    folders: Sequence[str], inside: Mapping[str, list[str]], captioned: Collection[str]
) -> str | None:
    """The one of several folders each image of which has a text, where no image of another one has."""
    counts = {folder: sum(name.rpartition(".")[0] in captioned for name in inside[folder]) for folder in folders}
    with_texts = [folder for folder, count in counts.items() if count]
    whole = len(with_texts) == 1 and counts[with_texts[0]] == len(inside[with_texts[0]])
    return with_texts[0] if whole and len(folders) > 1 else None


def _are_equal(names: set[str], images: set[str], sure: bool) -> bool:
    least = max(LEAST_IMAGES, EQUAL_SHARE * len(names), EQUAL_SHARE * len(images))
    return len(names & images) >= least and (sure or not follow_each_other(names))
