"""Which of several tables count: those that contradict each other, and those of images that are none of the set."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from stores.sources.fields.splits import word_list, words_of
from stores.sources.paths import SourceError
from stores.sources.summary import ITSELF, Unread
from stores.sources.tables.reading import TableReading

# Tables are rivals when they have more than this share of the images of one in common.
COMMON_SHARE = 0.1
# A table that names more than this share of the images names all.
NEARLY = 0.9
# Words of captions that a program changed.
CHANGED = frozenset(word_list("lemma lemmas lemmatized stemmed tokenized cleaned processed preprocessed lowercase"))


def refuse_rivals(readings: Sequence[TableReading], where: str) -> None:
    """Raise `SourceError`, naming both, where two tables give the same images different values of one role."""
    for place, first in enumerate(readings):
        for second in readings[place + 1 :]:
            common = first.found.keys() & second.found.keys()
            roles = (first.roles.keys() & second.roles.keys()) - {"split"}
            if (
                roles
                and len(common) > COMMON_SHARE * min(len(first.found), len(second.found))
                and _differ(first, second, common)
            ):
                raise SourceError(
                    f"{where}: expected one table with the {sorted(roles)[0]} of each image; received "
                    f"{first.table.path} and {second.table.path}; choose one with labels"
                )


def without_tables_of_boxes(
    readings: Sequence[TableReading], images: int, rejected: dict[str, Unread]
) -> list[TableReading]:
    """The tables without those of boxes that name few of the images of another one, which names nearly all (NIH's).

    Args:
        readings: the tables.
        images: how many images a table of all of them names.
        rejected: gets why a table is none of them.
    """
    whole = next((one for one in readings if "label" in one.roles and len(one.found) > NEARLY * images), None)
    boxes = [one for one in readings if any({"bbox", "box"} & set(words_of(column)) for column in one.columns)]
    few = [one for one in boxes if whole is not None and len(one.found) < len(whole.found) / 2]
    for one in few:
        reason = f"a table that names {len(one.found)} of the {images} images, with boxes in them"
        rejected[one.table.path] = Unread(reason, "labels", ITSELF)
    return [reading for reading in readings if reading not in few]


def without_changed_texts(readings: Sequence[TableReading], rejected: dict[str, Unread]) -> list[TableReading]:
    """The tables without those of captions whose names say that they are another's in a changed form (lemmas).

    Args:
        readings: the tables.
        rejected: gets why a table is none of them.
    """
    names = {tuple(words_of(one.table.name)) for one in readings}
    changed = [
        one
        for one in readings
        if one.roles.keys() == {"caption"}
        and (words := words_of(one.table.name))
        and tuple(word for word in words if word not in CHANGED) in names - {tuple(words)}
    ]
    for one in changed:
        rejected[one.table.path] = Unread("the captions of another table in a changed form", "labels", ITSELF)
    return [reading for reading in readings if reading not in changed]


def tables_of_examples(readings: Sequence[TableReading]) -> list[TableReading]:
    """Tables of one image a class beside others of more."""
    labeled = [reading for reading in readings if "label" in reading.roles]
    return [one for one in labeled if _shows_classes(one, [other for other in labeled if other is not one])]


def _shows_classes(reading: TableReading, others: Sequence[TableReading]) -> bool:
    """Whether a table names one image of each class of other tables, in folders of their own: GTSRB's Meta.csv.

    A part of the data set may happen to have one image of each class, too: it is called so, or has the same columns.
    """
    labels = [str(fields.label) for fields in reading.found.values()]
    known = [str(fields.label) for other in others for fields in other.found.values() if fields.label is not None]
    folders = {posixpath.dirname(name) for other in others for name in other.found}
    return (
        1 < len(labels) == len(set(labels))
        and set(known) <= set(labels)
        and len(known) > len(set(known))
        and folders.isdisjoint(map(posixpath.dirname, reading.found))
        and reading.split is None
        and all(other.columns != reading.columns for other in others)
    )


def _differ(first: TableReading, second: TableReading, common: set[str]) -> bool:
    """Whether two tables say different things of the same images."""
    return any(
        (a.label, a.captions) != (b.label, b.captions)
        for a, b in ((first.found[name], second.found[name]) for name in common)
    )
