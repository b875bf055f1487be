"""Files of a data set that name its integer labels: applied where they fit these exactly, else pointed out."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from stores.sources.fields.class_names import MAX_BYTES, has_ids, names_by_id, parse_class_names
from stores.sources.fields.splits import word_list, words_of
from stores.sources.layouts.layout import Reading
from stores.sources.layouts.tree import FileTree, is_loose
from stores.sources.lists.lines import stem_of
from stores.sources.paths import SourceError
from stores.sources.readers.card import CARDS, card_class_names
from stores.sources.summary import DataSummary, DataWarning

# Words by which such files are called: "classes.txt", "cat_to_name.json", "label_num_to_disease_map.json".
NAME_WORDS = frozenset(
    word_list(
        "class classes classname classnames category categories cat name names label labels labelnames labelmap synset "
        "synsets words"
    )
)
SUFFIXES = (".txt", ".json", ".csv", ".tsv")
MAX_FILES = 16


def apply_class_name_files(tree: FileTree, reading: Reading) -> None:
    """Give integer labels the names of the one file that has a name for each id and for no other."""
    used = {int(str(row.label)) for row in reading.rows if str(row.label).isdecimal()}
    if reading.class_names is not None or not used or not _all_numbers(reading):
        return
    fitting = {path: names for path, names in _named(tree, reading) if _fits_exactly(names, used)}
    lists = {path: _by_id(names, used, path) for path, names in fitting.items()}
    if not lists or len({tuple(names) for names in lists.values()}) > 1:
        return
    path, reading.class_names = next(iter(lists.items()))
    reading.used.add(path)
    reading.detail = ", ".join(filter(None, [reading.detail, f"names of the classes from {path}"]))


def class_names_hint(
    tree: FileTree, reading: Reading, summary: DataSummary, names: list[str] | None
) -> Iterator[DataWarning]:
    """A file that may hold the names of integer labels, which the user may have meant."""
    largest = max((entry.id for entry in summary.classes), default=-1)
    if names is not None or largest < 0:
        return
    for path, found in _named(tree, reading):
        if is_loose(tree.files[path]) and path.lower().endswith((".txt", ".json")) and _largest(found) >= largest:
            message = f"labels are numbers without names; {path} may give them"
            yield DataWarning(message, "class_names", os.path.join(tree.root, path))
            return


def _named(tree: FileTree, reading: Reading) -> Iterator[tuple[str, dict[str, str]]]:
    """The files that are called like one of class names and hold names, one for each class."""
    candidates = sorted(name for name in tree.files if name not in reading.used and _is_called_so(name))
    for name in candidates[:MAX_FILES]:
        with contextlib.suppress(SourceError), tree.open(name) as file:
            content = file.read(MAX_BYTES)
            is_card = os.path.basename(name) in CARDS
            names = card_class_names(content, name) if is_card else parse_class_names(content, name)
            listed = has_ids(names) or not name.lower().endswith((".csv", ".tsv"))
            if names and listed and len(set(names.values())) == len(names) and not all(map(_is_number, names.values())):
                yield name, names


def _is_number(name: str) -> bool:
    """Whether a name is none but a weight or a count ("class_weights.json")."""
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", name) is not None


def _is_called_so(name: str) -> bool:
    if name.endswith(CARDS) and os.path.basename(name) in CARDS:
        return True
    if not name.lower().endswith(SUFFIXES):  # nearly all, and there may be millions
        return False
    return any(word in NAME_WORDS or word.endswith("names") for word in words_of(stem_of(name)))


def _all_numbers(reading: Reading) -> bool:
    return all(row.label is None or str(row.label).isdecimal() for row in reading.rows)


def _fits_exactly(names: dict[str, str], used: set[int]) -> bool:
    """Whether there is a name for each id, and none for others but such as lie between those that are used."""
    if has_ids(names):
        return used <= set(map(int, names)) and max(used) == max(map(int, names))
    return max(used) + 1 == len(names) or (0 not in used and max(used) == len(names))


def _by_id(names: dict[str, str], used: set[int], path: str) -> list[str]:
    """The names in a list by id; the first of a plain list is that of the id 1 where there is no id 0."""
    found = names_by_id(names, path)
    return found if len(found) > max(used) else ["0", *found]


def _largest(names: dict[str, str]) -> int:
    return max(map(int, names)) if has_ids(names) else len(names) - 1
