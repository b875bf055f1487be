"""Folders of domains, each with the same classes: PACS, Office-Home, DomainNet."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from stores.sources.fields.splits import word_list, words_of
from stores.sources.folders.nodes import says_nothing
from stores.sources.lists.values import WNID

# Words by which sets of several domains call these.
DOMAIN_WORDS = frozenset(
    word_list(
        "art artistic cartoon cartoons photo photos sketch sketches clipart painting paintings product real synthetic "
        "simulated sim rendered source target domain location"
    )
)
# Without such words so many classes, and more than domains, must be the same.
# Two folders may be two classes (good and bad) of the same things.
LEAST_CLASSES, LEAST_DOMAINS = 5, 3
# Share of all classes that each domain must have.
COMMON_SHARE = 0.8


def are_domains(names: Sequence[str], classes: Sequence[Collection[str]]) -> bool:
    """Whether folders are domains of the same classes, by the names of both.

    Folders within classes that are numbered alike ("pose1", "pose2"), or say nothing, are no classes.

    Args:
        names: of the folders.
        classes: in each folder.
    """
    common = set.intersection(*map(set, classes)) if len(names) > 1 else set[str]()
    if len(common) < 2 or len(common) < COMMON_SHARE * len(set().union(*classes)):
        return False
    if all(re.fullmatch(WNID, name) for name in common):  # below distortions and their strengths in ImageNet-C
        return True
    if len({re.sub(r"\d+", "0", name) for name in common}) == 1 or any(map(says_nothing, common)):
        return False
    called_so = sum(bool(set(words_of(name)) & DOMAIN_WORDS) for name in names)
    are_many = LEAST_DOMAINS <= len(names) < len(common) and len(common) >= LEAST_CLASSES
    return called_so > len(names) / 2 or are_many
