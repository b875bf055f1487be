"""Lists that give each image a value of its own, such as a number or a person: these are no classes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from stores.sources.fields.splits import WORDS, words_of
from stores.sources.lists.lines import stem_of
from stores.sources.lists.values import WNID
from stores.sources.summary import ITSELF, Unread

# A list of at least so many images of which more than this share has a value of its own is none of labels.
OWN_FEW, OWN_SHARE = 8, 0.9
OWN_VALUES = Unread(
    "a list with a value of its own for each image, which says no class; if these are labels, name the list",
    "labels",
    ITSELF,
)


def with_own_values(labels: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The lists that give (nearly) every image a value that no other one has, those of one family together."""
    families: dict[str, list[str]] = {}
    for path, values in labels.items():
        if values:
            families.setdefault(family_of(path), []).append(path)
    found: list[str] = []
    for paths in families.values():
        known = {name: label for path in paths for name, label in labels[path].items()}
        wnids = all(re.fullmatch(WNID, label) for label in known.values())
        if len(known) >= OWN_FEW and len(set(known.values())) > OWN_SHARE * len(known) and not wnids:
            found += paths
    return found


def family_of(path: str) -> str:
    """What a list's name says beside the split."""
    words = [word for word in words_of(stem_of(path)) if word not in WORDS]
    return f"{posixpath.dirname(path)}/{' '.join(words)}"
