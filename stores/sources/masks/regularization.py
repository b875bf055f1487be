"""Regularization images beside those of a set: kohya's "reg" beside "img/10_sks dog"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stores.sources.fields.splits import FILLERS, words_of
from stores.sources.folders.nodes import says_nothing

REASON = "regularization images, which are no images of the set; any layout that is asked for takes them for images"
_WORDS = frozenset(("reg", "regularization", "regularisation"))
# A folder of kohya's: how often its images are repeated, and what they show.
_REPEATS = re.compile(r"\d+_.+")


def regularization_images(images: Sequence[str]) -> set[str]:
    """The images in a folder of regularization beside one of images whose folders begin with numbers of repeats."""
    tops = {parts[0] for name in images if len(parts := name.split("/")) > 1}
    folders = {top for top in tops if (words := set(words_of(top)) - FILLERS) and words <= _WORDS}
    if not folders or not any(map(says_nothing, tops - folders)):
        return set()
    inside = (name.split("/") for name in images)
    if not any(len(parts) > 2 and says_nothing(parts[0]) and _REPEATS.fullmatch(parts[1]) for parts in inside):
        return set()
    return {name for name in images if name.partition("/")[0] in folders}
