"""What the values of a list mean: labels, captions, splits, or numbers that are none of these."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stores.sources.fields.splits import NUMBERED, TEST, TRAIN, split_of_folder, word_list, words_of
from stores.sources.lists.lines import fields_of, stem_of
from stores.sources.tables.columns import label_column
from stores.sources.tables.guesses import says_no_role
from stores.sources.tables.match import names_an_image

WNID = r"n\d{8}"
CAPTION_WORDS = frozenset(word_list("caption captions sentence sentences text texts prompt prompts description token"))
PARTITION_WORDS = frozenset(("partition", "split", "splits"))
# Labels have at most so many words, captions more, where the name of the list does not say which they are.
LABEL_WORDS_MOST = 3
# Scores, checksums, addresses, dates and times, sizes in pixels or bytes, and places on Earth.
_NO_LABEL = re.compile(
    r"[-+]?\d*\.\d*[1-9]\d*(e[-+]?\d+)?|[0-9a-fA-F]{32,}|\d{11,}|(https?|ftp|s3|gs)://\S+|www\.\S+"
    r"|\d{4}[-/.]\d\d?[-/.]\d\d?(T\S+)?|\d\d?:\d\d(:\d\d\S*)?|\d{2,5}[x×]\d{2,5}|\d+(\.\d+)?[kKMG]i?B|[NSEW]\d+\.\d+"
)
_SCORE = re.compile(r"[-+]?\d*\.\d+(e[-+]?\d+)?")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?")


@dataclass
class ListValues:
    """What a list says of images, by their names: labels, captions or splits."""

    labels: dict[str, str] = field(default_factory=dict)
    captions: dict[str, list[str]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.labels or self.captions or self.splits)


def values_of(path: str, pairs: Sequence[tuple[str, str]], columns: Sequence[str]) -> ListValues:
    """The meaning of what stands behind the names of images in a list.

    Args:
        path: the list, whose name may say that its numbers are parts.
        pairs: image and the rest of its line.
        columns: names of the columns, where the list has them.
    """
    pairs = _columns_that_say(pairs)
    rests = dict(pairs)
    if says_no_role(stem_of(path)):  # sizes.txt, scores.txt
        return ListValues()
    if columns and (labels := _column(rests, columns)):
        return ListValues(labels=labels)
    if all(len(fields_of(rest)) == 1 for rest in rests.values()):
        return _single(path, rests)
    if labels := {name: found[0] for name, rest in rests.items() if (found := _wnid_and_box(rest))}:
        return ListValues(labels=labels)
    if any(_is_annotation(rest) for rest in rests.values()):
        return ListValues()
    if _are_captions(path, rests):
        captions: dict[str, list[str]] = {}
        for name, rest in pairs:
            captions.setdefault(name, []).append(rest)
        return ListValues(captions=captions)
    return ListValues(labels=rests)


def _columns_that_say(pairs: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """The pairs without further columns of scores between tabs ("0.92<tab>a red dress"), which say nothing."""
    rows = [rest.split("\t") for _, rest in pairs]
    width = len(rows[0]) if rows else 0
    if width < 2 or any(len(row) != width for row in rows):
        return pairs
    kept = [place for place in range(width) if not all(_SCORE.fullmatch(row[place].strip()) for row in rows)]
    return (
        [(name, row[kept[0]].strip()) for (name, _), row in zip(pairs, rows, strict=True)] if len(kept) == 1 else pairs
    )


def _column(rests: Mapping[str, str], columns: Sequence[str]) -> dict[str, str]:
    """The column of labels by its name; the first column is the image."""
    label = label_column(columns[1:])
    place = columns.index(label) if label else 0
    fields = {name: fields_of(rest) for name, rest in rests.items()}
    return {name: found[place - 1] for name, found in fields.items() if len(found) >= place} if place else {}


def _single(path: str, rests: dict[str, str]) -> ListValues:
    values = set(rests.values())
    if values and all(split_of_folder(value) for value in values):
        return ListValues(splits={name: str(split_of_folder(value)) for name, value in rests.items()})
    if asks_of_training(path) and values <= {"0", "1"}:
        return ListValues(splits={name: TRAIN if value == "1" else TEST for name, value in rests.items()})
    if set(words_of(stem_of(path))) & PARTITION_WORDS and values <= NUMBERED.keys():
        return ListValues(splits={name: NUMBERED[value] for name, value in rests.items()})
    if "-1" in values and values <= {"-1", "0", "1", "+1"}:
        return ListValues()  # one class against all others, as PASCAL VOC has them
    labels = {
        name: value for name, value in rests.items() if not _NO_LABEL.fullmatch(value) and not names_an_image(value)
    }
    return ListValues(labels=labels)


def asks_of_training(path: str) -> bool:
    """Whether the ones of a list are training images, and its zeros the others: CUB-200's train_test_split.txt."""
    return {"train", "test"} <= set(words_of(stem_of(path)))


def _wnid_and_box(rest: str) -> list[str]:
    """A WordNet id with a box behind it, as Tiny ImageNet has it, else nothing."""
    fields = fields_of(rest)
    return fields if re.fullmatch(WNID, fields[0]) and all(map(_NUMBER.fullmatch, fields[1:])) else []


def _is_annotation(rest: str) -> bool:
    """Whether a value is one of objects, attributes or other files: two numbers and more, or the name of an image."""
    fields = fields_of(rest)
    numbers = sum(_NUMBER.fullmatch(one) is not None for one in fields)
    scores = any(_NO_LABEL.fullmatch(one) for one in fields)
    return numbers > 1 or (scores and len(fields) <= LABEL_WORDS_MOST) or any(map(names_an_image, fields))


def _are_captions(path: str, rests: Mapping[str, str]) -> bool:
    if set(words_of(stem_of(path))) & CAPTION_WORDS:
        return True
    words = sorted(len(rest.split()) for rest in rests.values())
    return words[len(words) // 2] > LABEL_WORDS_MOST and len(set(rests.values())) > len(rests) / 2
