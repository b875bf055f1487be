"""Folders that are parts of a data set and no classes: numbered ones, dates, views, first letters."""

from __future__ import annotations

import re

from stores.sources.fields.splits import WORDS, words_of
from stores.sources.folders.nodes import Folder, says_nothing

# Words before the numbers of parts. "s1" and "v2" may be classes.
PARTS = (
    "parts?|folds?|batch|batches|chunks?|shards?|splits?|subsets?|images|imgs|files|data|photos|"
    "dis[ck]s?|volumes?|vol|archives?|blocks?|dumps?"
)
# Words before the letters of parts ("part_A").
LETTERED = "parts?|batch|chunk|shard|split|subset"
# Words before the numbers of patients and their recordings, whose folders are no classes of images.
PATIENTS = "patients?|study|studies|case|cases|series|scans?|visits?|exams?"
# Letters that say nothing, alone with a number ("s1"), may name a class.
LEAST_LETTERS = 3
_DATE_OR_SIZE = re.compile(r"(19|20)\d\d[-_.](0\d|1[012])([-_.][0-3]\d)?|\d{2,5}[x×]\d{2,5}")
_YEAR, _MONTH = re.compile(r"(19|20)\d\d"), re.compile(r"0[1-9]|1[012]")
_YEARLY = re.compile(r"[A-Za-z]+[-_]?(19|20)\d\d")


def are_numbered_parts(node: Folder) -> bool:
    """Whether the folders are parts of a set, told apart by numbers, dates or sizes: "part-1", "512x768", "VOC2007".

    So are those told apart by letters ("part_A"), and those that go on from one without a number.
    """
    if len(node.folders) > 1 and all(map(_DATE_OR_SIZE.fullmatch, node.folders)):
        return True
    if len(node.folders) > 1 and all(map(_YEARLY.fullmatch, node.folders)):
        return len({name.rstrip("0123456789") for name in node.folders}) == 1 and _are_around_images(node)
    if len(node.folders) > 1 and all(re.fullmatch(rf"(?i)({LETTERED})[-_ ][a-z]", name) for name in node.folders):
        return True
    if _are_counted_on(node):
        return True
    skeletons = {re.sub(r"\d+", "0", name.lower()) for name in node.folders}
    if len(node.folders) < 2 or len(skeletons) > 1 or "0" not in (skeleton := next(iter(skeletons))):
        return False
    return re.search(rf"(^|[^a-z])({PARTS}|{'|'.join(WORDS)})[-_ ]?0$", skeleton) is not None


def _are_counted_on(node: Folder) -> bool:
    """Whether one folder of images has the name of all and the others go on from 2: "VG_100K", "VG_100K_2"."""
    first = min(node.folders, key=len, default="")
    numbers = [re.fullmatch(rf"{re.escape(first)}[-_ ](\d)", name) for name in node.folders if name != first]
    found = sorted(int(number[1]) for number in numbers if number)
    counted = bool(found) and len(found) == len(numbers) and found == list(range(2, len(found) + 2))
    return counted and all(one.direct and not one.folders for one in node.folders.values())


def are_years(node: Folder) -> bool:
    """Whether the folders are years of folders of months ("2019/05"), as programs that sort photographs make them."""
    years = bool(node.folders) and all(map(_YEAR.fullmatch, node.folders))
    return years and all(map(_is_of_months, node.folders.values()))


def _is_of_months(node: Folder) -> bool:
    return bool(node.folders) and all(map(_MONTH.fullmatch, node.folders))


def are_patients(node: Folder) -> bool:
    """Whether the folders are numbered patients, or what was recorded of one ("patient00001/study1")."""
    return bool(node.folders) and all(re.fullmatch(rf"({PATIENTS})[-_ ]?\d+", name.lower()) for name in node.folders)


def _are_around_images(node: Folder) -> bool:
    """Whether all folders hold nothing but folders that say nothing ("VOC2007/JPEGImages")."""
    return all(not one.direct and all(map(says_nothing, one.folders)) for one in node.folders.values())


def are_views(node: Folder) -> bool:
    """Whether all of several folders say nothing of their images or are cameras: "image_2", "image_3", "CAM_FRONT"."""
    if len(node.folders) < 2:
        return False
    cameras = all(words_of(name)[:1] in (["cam"], ["camera"]) for name in node.folders)
    return cameras or all(map(_is_view, node.folders))


def _is_view(name: str) -> bool:
    return says_nothing(name) and max(map(len, words_of(name))) >= LEAST_LETTERS


def are_sequences(node: Folder) -> bool:
    """Whether the folders are numbered recordings, each of the views of several cameras ("sequences/00/image_0")."""
    folders = node.folders.items()
    return len(folders) > 1 and all(
        name.isdecimal() and not folder.direct and are_views(folder) for name, folder in folders
    )


def are_letters(node: Folder) -> bool:
    """Whether the folders are the first letters of those in them (SUN397 and Places365: "a/abbey")."""
    if node.direct or not node.folders:
        return False
    inside = [(letter, name) for letter, folder in node.folders.items() for name in folder.folders]
    if all(re.fullmatch(r"[-_ ]?\d+", name[len(letter) :]) for letter, name in inside):
        return False  # "A/A1", "A/A2": takes of the class "A"
    return all(len(letter) == 1 and letter.isalpha() for letter in node.folders) and all(
        not folder.direct and all(name.lower().startswith(letter.lower()) for name in folder.folders)
        for letter, folder in node.folders.items()
    )
