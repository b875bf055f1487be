"""What masks are called by: the names of their images, with a mask's word behind them where they lie beside these."""

from __future__ import annotations

import posixpath
import re
from collections import Counter

from stores.sources.masks.words import LONGEST_WORD, LOSSLESS, NAME_WORDS, SURE_WORDS

# So many of the images of a folder must have a mask beside them there.
LEAST_MASKED = 0.5


def stems_of(names: list[str]) -> set[str]:
    """What masks may be called by: the names without suffix, without the words that all of them end with."""
    bases = [base_of(name) for name in names]
    stems = {as_number(base) for base in bases}
    mark = re.search(r"_[a-z][a-z0-9]*$", bases[0]) if len(bases) > 1 else None
    if mark is None or not all(base.endswith(mark[0]) for base in bases):
        return stems
    return stems | {as_number(base.removesuffix(mark[0])) for base in bases}


def image_of(base: str, stems: set[str]) -> str | None:
    """The image's name that a mask's name is or begins with, or None."""
    while base:
        if as_number(base) in stems:
            return base
        base = re.sub(r"(^|[_\-. ])[^_\-. ]*$", "", base)
    return None


def as_number(base: str) -> str:
    """A name of digits without the zeros before them, another one as it is."""
    return base.lstrip("0") or "0" if base.isdecimal() else base


def marked_images(names: list[str]) -> set[str]:
    """Images with a mask's word behind the name of another image in their folder, where most images have one."""
    marked = {name: stem for name in names if (stem := _unmarked(name))}
    if not marked:
        return set()
    by_folder: dict[str, list[str]] = {}
    for name in names:
        if name not in marked:
            by_folder.setdefault(posixpath.dirname(name), []).append(name)
    stems = {folder: stems_of(inside) for folder, inside in by_folder.items()}
    masks = {
        name: stem
        for name, stem in marked.items()
        if as_number(posixpath.basename(stem)) in stems.get(posixpath.dirname(name), ())
    }
    masked = Counter(map(posixpath.dirname, dict.fromkeys(masks.values())))
    return {
        name for name in masks if masked[folder := posixpath.dirname(name)] >= LEAST_MASKED * len(by_folder[folder])
    }


def _unmarked(name: str) -> str | None:
    """A name without suffix and without the mask's word, or word and number, at its end; None where it has none.

    The file's name is in lower case.
    """
    stem, _, suffix = name.rpartition(".")
    stem = stem.rstrip("0123456789")  # "1_mask_0"; most end so, and there may be millions
    if stem[-1:] == "/" or not stem:
        return None
    stem = stem[:-1] if stem[-1:] in "_-" else stem
    tail = stem[-LONGEST_WORD - 1 :]
    end = max(tail.rfind("_"), tail.rfind("-"), tail.rfind("."), tail.rfind(" "))
    word = tail[end + 1 :].lower()
    if end < 0 or not (word in SURE_WORDS or (word in NAME_WORDS and f".{suffix.lower()}" in LOSSLESS)):
        return None
    folder, slash, base = stem[: -len(word) - 1].rpartition("/")
    return f"{folder}{slash}{base.lower()}" if base else None


def base_of(name: str) -> str:
    """The file's name in lower case, without folder and suffix."""
    return posixpath.basename(posixpath.splitext(name)[0]).lower()
