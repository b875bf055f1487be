"""Lists of names that cut a data set into parts: train.txt and test.txt of Food-101, PASCAL VOC and others."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from stores.sources.fields.splits import WORDS, split_in_words, words_of
from stores.sources.layouts.layout import Reading
from stores.sources.layouts.tree import FileTree
from stores.sources.lists.lines import LISTS, fields_of, is_joint, split_line, split_of_list, stem_of
from stores.sources.lists.values import PARTITION_WORDS, values_of
from stores.sources.paths import SourceError
from stores.sources.summary import TableUse, Unread
from stores.sources.tables.json_tables import load_json
from stores.sources.tables.match import ImageIndex

# Words that may stand beside the split in the name of a list with labels ("train_labels.txt").
LABEL_LIST_WORDS = frozenset(("label", "labels", "annotation", "annotations"))
# Tables that are lists where they have one column.
COLUMNS = (".csv", ".tsv")
# Lists of names, or lists by class, where they are no tables themselves; larger ones are none of names.
JSON, MAX_JSON_BYTES = ".json", 2**26
# A list counts when this share of its lines names an image.
MATCHING_SHARE = 0.9
# One with a header, when more than this share does.
MOST = 0.5


def apply_split_lists(tree: FileTree, reading: Reading) -> None:
    """Give the images whose split nothing else says that of the list of names which has them.

    A list is a text file named by one split word, with a name on each line, or one of partitions, with the split behind
    each name. Behind the names of the first may stand the labels that the images have (mmpretrain, Caffe). Lists that
    disagree, as those of several folds do, are not used and say so. A list of two parts together (trainval.txt) counts
    where no other one has the image.
    """
    candidates = _candidates(tree, reading)
    bare = {row.name: row for row in reading.rows if row.split is None} if candidates else {}
    if not bare:
        return
    index = ImageIndex([row.name for row in reading.rows], lambda name: None)
    labels = {row.name: str(row.label) for row in reading.rows if row.label is not None}
    pairs = _paired(candidates)
    lists = {path: found for path in candidates if (found := _read(tree, path, pairs.get(path), index, labels))}
    splits: dict[str, set[str]] = {}
    for path in sorted(lists, key=is_joint):
        for name, split in lists[path].items():
            known = splits.setdefault(name, set())
            if not (known and is_joint(path)):
                known.add(split)
    if any(len(parts) > 1 for parts in splits.values()):
        reading.unused |= dict.fromkeys(lists, Unread("lists of parts that disagree: an image is in two"))
        return
    for name in splits.keys() & bare.keys():
        bare[name].split = next(iter(splits[name]))
    for path, names in lists.items():
        reading.used.add(path)
        reading.tables.append(
            TableUse(path, ["file"], {"file": ["file"], "split": ["the list's name"]}, len(names), len(names))
        )


def _candidates(tree: FileTree, reading: Reading) -> list[str]:
    suffixes = (*LISTS, *COLUMNS, JSON)
    texts = [
        path for path in tree.files if path.lower().endswith(suffixes) and path.rpartition(".")[0] not in tree.stems
    ]
    named = [path for path in texts if path not in reading.used]
    pairs = _paired([path for path in named if not path.lower().endswith(JSON)])
    return [
        path
        for path in named
        if path in pairs or split_of_list(path, LABEL_LIST_WORDS) or set(words_of(stem_of(path))) & PARTITION_WORDS
    ]


def _paired(paths: list[str]) -> dict[str, str]:
    """The split of lists that only the word of the split tells apart ("resisc45-train.txt", "resisc45-test.txt")."""
    families: dict[str, dict[str, str]] = {}
    for path in paths:
        if (split := split_in_words(stem_of(path))) is not None:
            families.setdefault(_without_split(path), {})[path] = split
    pairs = (family for family in families.values() if 1 < len(family) == len(set(family.values())))
    return {path: split for family in pairs for path, split in family.items()}


def _without_split(path: str) -> str:
    """A path with a mark in place of the words of splits in its name."""
    words = "|".join(sorted(WORDS, key=len, reverse=True))
    stem = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", stem_of(path)).lower()  # Flickr_8k.trainImages.txt
    return posixpath.join(posixpath.dirname(path), re.sub(rf"(?<![a-z])({words})(?![a-z])", "*", stem))


def _read(
    tree: FileTree, path: str, paired: str | None, index: ImageIndex, labels: Mapping[str, str]
) -> dict[str, str]:
    """The split of the images that a list names, one a line; {} where it is a list of other things."""
    is_json, folder = path.lower().endswith(JSON), posixpath.dirname(path)
    lines = _names_in_json(tree, path) if is_json else tree.lines(path)
    if path.lower().endswith(COLUMNS):
        lines = [line.strip('"') for line in lines[1:]] if lines and not re.search(r"[,;\t|]", lines[0]) else []
    split = split_of_list(path, LABEL_LIST_WORDS) or paired
    if split is None:
        pairs = [(index.find(name, folder), rest) for name, rest in map(split_line, lines) if rest]
        found = [(name, rest) for name, rest in pairs if name]
        return values_of(path, found, ()).splits if len(found) > MOST * len(lines) else {}
    names = {name for line in lines if (name := index.find(line, folder)) is not None}
    if len(names) < MATCHING_SHARE * len(lines):
        labeled = [(name, rest) for word, rest in map(split_line, lines) if (name := index.find(word, folder))]
        names = {name for name, _ in labeled} if _are_of_labels(labeled, labels) else set()
    return dict.fromkeys(names, split) if names and len(names) >= MATCHING_SHARE * len(lines) else {}


def _names_in_json(tree: FileTree, path: str) -> list[str]:
    """The names in a JSON list, or in the lists by class of an object (Food-101's train.json); [] where others are."""
    if tree.files[path].num_bytes > MAX_JSON_BYTES:
        return []
    try:
        with tree.open(path) as file:
            value = load_json(file, path)
    except SourceError:
        return []
    lists = list(value.values()) if isinstance(value, dict) else [value]
    names = [name for one in lists if isinstance(one, list) for name in one if isinstance(name, str)]
    return names if len(names) == sum(len(one) if isinstance(one, list) else 1 for one in lists) else []


def _are_of_labels(listed: list[tuple[str, str]], labels: Mapping[str, str]) -> bool:
    """Whether what a list has behind the names of images are the labels that they have, in numbers or other words."""
    pairs = {(labels.get(name), rest) for name, rest in listed}
    own, theirs = {label for label, _ in pairs}, {rest for _, rest in pairs}
    are_apart = len(pairs) < len(listed) or all(map(str.isdecimal, theirs))
    are_labels = are_apart and all(len(fields_of(rest)) == 1 for rest in theirs)
    return are_labels and None not in own and len(own) == len(theirs) == len(pairs)
