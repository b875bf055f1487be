"""The splits that names of files say: archives, Parquet files and tables beside one another."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable

from stores.sources.fields.splits import FILLERS, TRAIN, WORDS, split_in_words, split_of_folder, word_list, words_of

# Words of a file's name that say nothing of what is in it ("train-00000-of-00002", "val_annotations").
FILE_FILLERS = FILLERS | frozenset(
    word_list(
        "of shard shards chunk batch parts loc label labels caption captions annotation annotations solution metadata "
        "meta list lists info map names ids gt table instances classes tar wds full all final rows"
    )
)

_FUSED = re.compile(r"(.*?)(train|valid|val|test)([^a-z]*)", re.IGNORECASE)


def splits_of_files(paths: Iterable[str]) -> dict[str, str | None]:
    """The split of each file by its name, or else by the nearest folder around it whose name says one.

    Args:
        paths: of all files, below the data set.
    """
    files = list(dict.fromkeys(paths))
    beside: dict[str, set[str]] = {}
    for path in files:
        parts = _parts(path)
        for depth, part in enumerate(parts):
            beside.setdefault("/".join(parts[:depth]), set()).add(part)
    known = {folder: splits_of_names(names) for folder, names in beside.items()}

    def split_of(path: str) -> str | None:
        parts = _parts(path)
        found = (known["/".join(parts[:depth])][parts[depth]] for depth in reversed(range(len(parts))))
        return next((split for split in found if split), None)

    return {path: split_of(path) for path in files}


def splits_of_names(names: Collection[str]) -> dict[str, str | None]:
    """The split that each of the names beside one another says.

    A name does whose every word does ("val-000", "test_images"), or that differs from another by the word of its split
    alone ("imagenet-train", "imagenet-val"). Where all names have such a word, it counts where there are several splits
    or it is the last one ("power_test", not "test_tubes"). "valid" says none beside "invalid".
    """
    loose = {name: split for name in names if (split := split_in_words(name))}
    if not loose:
        return dict.fromkeys(names) | _fused_splits(names)
    groups: dict[str, set[str]] = {}
    for name, split in loose.items():
        groups.setdefault(_rest(name), set()).add(split)
    all_say, several = len(loose) == len(names), len(set(loose.values())) > 1
    found = {
        name: split
        for name, split in loose.items()
        if (not _rest(name) and not _is_denied(name, names))
        or (_rest(name) and len(groups[_rest(name)]) > 1)
        or (all_say and (several or is_last(name)))
    }
    if any(split != TRAIN for split in found.values()):
        found |= {name: split for name, split in loose.items() if split == TRAIN}
    return {name: found.get(name) for name in names}


def _fused_splits(names: Collection[str]) -> dict[str, str]:
    """The splits of names that differ by one word alone, with no mark around it ("carstrain", "carstest")."""
    families: dict[str, dict[str, str]] = {}
    for name in names:
        if (found := _FUSED.fullmatch(name)) is not None:
            families.setdefault(f"{found[1]}*{found[3]}".lower(), {})[name] = WORDS[found[2].lower()]
    several = (family for family in families.values() if len(set(family.values())) > 1 and TRAIN in family.values())
    return {name: split for family in several for name, split in family.items()}


def split_of_name(name: str) -> str | None:
    """The split that a name says by itself: as a whole or with its last word ("imagenet_val")."""
    return split_of_folder(name) or (split_in_words(name) if is_last(name) else None)


def is_last(name: str) -> bool:
    """Whether the last word of a name that says something is a split."""
    words = _words(name)
    return bool(words) and words[-1] in WORDS


def _words(name: str) -> list[str]:
    return [word for word in words_of(name) if word not in FILE_FILLERS and len(word) > 1]


def _rest(name: str) -> str:
    return " ".join(word for word in _words(name) if word not in WORDS)


def _is_denied(name: str, names: Collection[str]) -> bool:
    """Whether a name is a word of splits and ends another one that says none: "valid" beside "invalid"."""
    lower = name.lower()
    return lower in WORDS and any(other.lower().endswith(lower) and not split_in_words(other) for other in names)


def _parts(path: str) -> list[str]:
    """The folders of a path and the file's name without its suffixes."""
    folder, base = posixpath.split(path)
    return [*(folder.split("/") if folder else ()), base.split(".")[0] or base]
