"""Lines of a text list: the name of an image and what stands behind it, whichever separator is between them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from stores.sources.fields.splits import JOINT_WORDS, TRAIN, VAL, WORDS, word_list, words_of
from stores.sources.paths import IMAGE_SUFFIXES

# Words that may stand beside a split in the name of a list ("train_list.txt").
LIST_WORDS = frozenset(word_list("list lists file files name names id ids image images img set split data index"))
LISTS = (".txt", ".lst")
MAX_LIST_BYTES = 2**30
_COMMENT = re.compile(r"\s+#\s.*$")
_SUFFIXES = "|".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
_NAMED = re.compile(rf"(.+?\.(?:{_SUFFIXES}))(?:\s*[,;|]\s*|:\s+|\s+)(.+)", re.IGNORECASE)


def lines_of_file(path: str) -> list[str]:
    """The lines of a list on disk that are not empty, without space around them."""
    with Path(path).open("rb") as file:
        text = file.read(MAX_LIST_BYTES).decode("utf-8-sig", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def split_line(line: str) -> tuple[str, str]:
    """The first field of a line and the rest of it, "" where there is none.

    A tab ends the first field; otherwise the suffix of an image does, or else the first space, comma, semicolon or bar.
    A line that begins with a number and ends with the name of an image has these fields: MXNet's .lst.
    """
    if "\t" in line:
        name, _, rest = line.partition("\t")
        return name.strip(), rest.strip()
    if (named := _NAMED.fullmatch(line)) is not None:
        return named[1].strip(), named[2].strip()
    fields = re.split(r"[\s,;|]+", line, maxsplit=1)
    return fields[0].removesuffix(":"), fields[1].strip() if len(fields) > 1 else ""


def without_comments(lines: Sequence[str]) -> list[str]:
    """The lines without those that are comments, and without comments behind two spaces or on every line."""
    kept = [line for line in lines if not line.startswith("#")]
    cut = [re.sub(r"(?:\t| {2,})#\s.*$", "", line) for line in kept]
    if cut and all(_COMMENT.search(line) for line in kept):
        cut = [_COMMENT.sub("", line) for line in kept]
    return cut


def fields_of(rest: str) -> list[str]:
    """The fields of what stands behind a name."""
    return [field for field in re.split(r"[\s,;|]+", rest) if field]


def columns_of_lists(lines: Sequence[str]) -> list[str]:
    """Names of the columns, where one of the first lines has them: "#Image CLASS-ID SPECIES", "image_name label"."""
    for line in lines[:5]:
        fields = fields_of(line.lstrip("#"))
        if len(fields) > 2 and plain_word(fields[0]).startswith(("image", "file", "img")):
            return fields
    return []


def plain_word(text: str) -> str:
    """A name without case and separators."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def stem_of(path: str) -> str:
    """A file's name without folder and suffix."""
    return posixpath.splitext(posixpath.basename(path))[0]


def split_of_list(path: str, beside: frozenset[str] = frozenset()) -> str | None:
    """The split that the whole name of a list says ("train.txt", "test_list.txt"), not one of folds ("train1.txt").

    Args:
        path: the list.
        beside: further words that may stand beside the split.
    """
    stem = stem_of(path)
    if any(len(number) != 4 for number in re.findall(r"\d+", stem)):  # a year says nothing
        return None
    words = [word for word in words_of(stem) if word not in LIST_WORDS | beside]
    if len(words) == 2 and {WORDS.get(word) for word in words} == {TRAIN, VAL}:
        return TRAIN
    return WORDS.get(words[0]) if len(words) == 1 else None


def is_joint(path: str) -> bool:
    """Whether a list is of two parts together ("trainval.txt"), of which lists of one part know more."""
    words = set(words_of(stem_of(path)))
    return bool(words & JOINT_WORDS) or len({WORDS[word] for word in words & WORDS.keys()}) > 1
