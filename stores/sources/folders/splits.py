"""Where a data set is cut into its parts: folders that are called like splits, by themselves or with a class."""

from __future__ import annotations

from stores.sources.fields.splits import (
    FILLERS,
    TRAIN,
    WORDS,
    class_without_split,
    name_without_split,
    split_in_words,
    split_of_folder,
    word_list,
    words_of,
)
from stores.sources.folders.nodes import Folder, says_nothing

# Words of folders whose images are of no class, wherever they lie, and of those beside that of a split.
UNLABELED = frozenset(word_list("unlabeled unlabelled unlabel unsup unsupervised"))
NO_CLASSES = UNLABELED | frozenset(word_list("extra extras additional distractors"))


def split_level(node: Folder) -> dict[str, str | None] | None:
    """The split of each subfolder, when this is where a data set is cut into its parts, else None."""
    names = list(node.folders)
    exact = {name: split for name in names if (split := split_of_folder(name))}
    if exact and (len(exact) == len(names) or len(set(exact.values())) > 1):
        return {name: exact.get(name) or split_in_words(name) for name in names}  # "test_simple" beside "test"
    if len(exact) == 1 and not may_be_class(node, next(iter(exact))):
        return {name: exact.get(name) for name in names}
    if split_and_class(node):
        return None
    loose = {name: split for name in names if (split := split_in_words(name))}
    rests = {rest if rest is None else rest.lower() for rest in map(name_without_split, names)}
    if len(loose) == len(names) and len(rests) == 1 and None not in rests and (len(names) > 1 or node.holds_leaves):
        return dict(loose)
    pair = _pair_of_parts(loose) or _parts_of_one(node, loose)
    return {name: pair.get(name) for name in names} if pair else None


def _pair_of_parts(loose: dict[str, str]) -> dict[str, str] | None:
    """The folders of one thing's parts beside others ("seg_train" and "seg_test" beside "seg_pred"), or None.

    Args:
        loose: the split that a word of each folder's name says.
    """
    by_rest: dict[str, dict[str, str]] = {}
    for name, split in loose.items():
        by_rest.setdefault((name_without_split(name) or "").lower(), {})[name] = split
    if len(by_rest) != 1 or "" in by_rest:
        return None
    (found,) = by_rest.values()
    return found if len(set(found.values())) > 1 and TRAIN in found.values() else None


def _parts_of_one(node: Folder, loose: dict[str, str]) -> dict[str, str] | None:
    """The training part of a thing beside its other parts ("rps" beside "rps-test-set" and "rps-validation"), or None.

    It holds folders alone; "data_large" beside "val_large" is one, too.
    """
    rests = {_rest(name) for name in loose}
    bases = [name for name in node.folders if name not in loose and _rest(name) in rests - {""}]
    if len(bases) != 1 or len(rests) != 1 or TRAIN in loose.values():
        return None
    base = node.folders[bases[0]]
    return loose | {bases[0]: TRAIN} if base.folders and not base.direct else None


def _rest(name: str) -> str:
    """The words of a folder's name that say neither a split nor nothing."""
    return " ".join(word for word in words_of(name) if word not in WORDS and word not in FILLERS)


def split_and_class(node: Folder) -> dict[str, tuple[str | None, str]] | None:
    """(split, class) of each subfolder, when each name is a split with a class ("trainA", "trainB", "testB").

    Every class must be in the training part, and one in two parts: "train_station" and "test_tube" are classes.
    """
    found = {name: (split_in_words(name), class_without_split(name)) for name in node.folders}
    splits, classes = {split for split, _ in found.values()}, {word or "" for _, word in found.values()}
    if (
        None in splits
        or not all(any(map(str.isalpha, word)) for word in classes)
        or len(classes) < 2
        or len(set(found.values())) < len(found)
    ):
        return None
    if {word for split, word in found.values() if split == TRAIN} != classes or len(found) == len(classes):
        return None
    return {name: (split, word or "") for name, (split, word) in found.items()}


def may_be_class(node: Folder, name: str) -> bool:
    """Whether the one folder named like a split is a class: "valid" beside "invalid", none with subfolders.

    It is none where one beside it says nothing ("images"), is a number or "unlabeled", where all of them say splits, or
    where images lie beside them.
    """
    others = [other for other in node.folders if other != name]
    parts = {split_in_words(other) for other in others}
    if node.direct or (None not in parts and parts - {split_of_folder(name)}):
        return False
    return bool(others) and node.holds_leaves and all(map(_may_name_class, others))


def is_unlabeled(name: str) -> bool:
    """Whether a folder's whole name says that its images have no class ("unlabeled", "unsup_images")."""
    words = set(words_of(name)) - FILLERS
    return bool(words) and words <= UNLABELED


def _may_name_class(name: str) -> bool:
    """Whether a folder's name may be that of a class beside one named like a split: no number, no "unlabeled"."""
    return not (name.isdecimal() or says_nothing(name) or set(words_of(name)) & NO_CLASSES)
