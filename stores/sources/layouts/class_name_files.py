"""Files of a data set that name its integer labels: applied where they fit these exactly, else pointed out."""

from __future__ import annotations

import contextlib
import csv
import os
import re
from collections.abc import Iterator

from stores.sources.fields.class_names import MAX_BYTES, has_ids, names_by_id, parse_class_names
from stores.sources.fields.splits import split_of_folder, word_list, words_of
from stores.sources.layouts.layout import Reading
from stores.sources.layouts.tree import FileTree, is_loose
from stores.sources.lists.lines import stem_of
from stores.sources.lists.values import WNID
from stores.sources.paths import SourceError
from stores.sources.readers.card import CARDS, card_class_names, settings_class_names
from stores.sources.summary import DataSummary, DataWarning
from stores.sources.tables.columns import LABEL_TEXT_NAMES, first_named, plain
from stores.sources.tables.delimited import delimiter_of, first_line
from stores.sources.tables.match import names_an_image

# Words by which such files are called: "classes.txt", "cat_to_name.json", "label_num_to_disease_map.json".
NAME_WORDS = frozenset(
    word_list(
        "class classes classname classnames category categories cat name names label labels labelnames labelmap synset "
        "synsets words"
    )
)
# Words of files that say other things of the classes, or of the images: "class_weights.json", "filenames.txt".
OTHER_WORDS = frozenset(
    word_list(
        "weight count stat statistic info readme note report threshold filename file color colour colormap palette "
        "frequency frequencies distribution histogram score license version submission"
    )
)
SUFFIXES = (".txt", ".json", ".csv", ".tsv", ".names")
# Settings of detectors (YOLO's data.yaml), which name the classes in `names`.
SETTINGS = (".yaml", ".yml")
ENDINGS = (*SUFFIXES, *SETTINGS, *(card.lower() for card in CARDS))
# Names of more words than these, which end like sentences, are a text about the classes.
NAME_WORDS_MOST = 4
MAX_FILES = 16
# Columns of ids in a table of classes.
ID_COLUMNS = word_list("id classid labelid categoryid classindex index label class")


def apply_class_name_files(tree: FileTree, reading: Reading) -> None:
    """Give integer labels the names of the one file that has a name for each id and for no other."""
    used = {int(str(row.label)) for row in reading.rows if str(row.label).isdecimal()}
    if reading.class_names is not None or not used or not _all_numbers(reading):
        return
    fitting = {path: names for path, names in _named(tree, reading) if _is_sure(path) and _fits_exactly(names, used)}
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
            names = _names_in(content, name)
            if names and _are_names(names):
                yield name, names


def _names_in(content: bytes, name: str) -> dict[str, str]:
    if os.path.basename(name) in CARDS:
        return card_class_names(content, name)
    return settings_class_names(content) if name.lower().endswith(SETTINGS) else _parsed(content, name)


def _parsed(content: bytes, name: str) -> dict[str, str]:
    """The names by id or in their order; {} for a table without ids, or an object whose keys are none."""
    if not name.lower().endswith((".csv", ".tsv")):
        names = parse_class_names(content, name)
        by_key = name.lower().endswith(".json") and not has_ids(names) and not all(map(_WNID.fullmatch, names))
        return {} if by_key and any(key != value for key, value in names.items()) else names
    names = parse_class_names(_named_columns(content), name)
    return names if has_ids(names) else {}


def _named_columns(content: bytes) -> bytes:
    """Of a table with a header and more than two columns, the lines of the id and the name alone, else the content.

    No line at all where no column is known as that of the ids, or of the names.
    """
    text = content.decode("utf-8-sig", errors="replace")
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter_of(first_line(content))) if row]
    header = rows[0] if rows else []
    number = first_named(header, ID_COLUMNS)
    text_columns = [column for column in header if plain(column) in LABEL_TEXT_NAMES and column != number]
    if len(header) < 3 or any(cell.strip().isdecimal() for cell in header):
        return content
    if number is None or not text_columns:
        return b""
    places = header.index(number), header.index(text_columns[0])
    lines = (",".join(row[place].strip() for place in places) for row in rows[1:] if len(row) > max(places))
    return "\n".join(lines).encode()


def _are_names(names: dict[str, str]) -> bool:
    """Whether texts are names of classes, all different, and not numbers, colors, splits, files or sentences."""
    texts = list(names.values())
    if len(set(texts)) < len(texts) or all(map(split_of_folder, texts)):
        return False
    return not (all(map(_NUMBER.fullmatch, texts)) or any(map(_is_no_name, texts)) or sum(map(_is_sentence, texts)) > 1)


_WNID = re.compile(WNID)
# Weights and counts.
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?%?")
_COLOR = re.compile(r"#[0-9a-fA-F]{3,8}|(rgb\()?[\[(]?\d{1,3}\s*[,;]\s*\d{1,3}\s*[,;]\s*\d{1,3}[\])]?")


def _is_no_name(text: str) -> bool:
    return _COLOR.fullmatch(text) is not None or names_an_image(text)


def _is_sentence(text: str) -> bool:
    return len(text.split()) > NAME_WORDS_MOST and text.endswith((".", "!", "?", ":"))


def _is_called_so(name: str) -> bool:
    lower = name.lower()
    if not lower.endswith(ENDINGS):  # nearly all, and there may be millions
        return False
    if lower.endswith((*SETTINGS, ".names")) or os.path.basename(name) in CARDS:
        return True
    if not lower.endswith(SUFFIXES):
        return False
    return any(word in NAME_WORDS or word.endswith("names") for word in words_of(stem_of(name)))


def _is_sure(name: str) -> bool:
    """Whether nothing in a file's name says that it holds something else than names."""
    if os.path.basename(name) in CARDS:
        return True
    words = words_of(stem_of(name))
    return not {*words, *(word.removesuffix("s") for word in words)} & OTHER_WORDS and "filenames" not in words


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
