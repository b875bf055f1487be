"""What is checked of tables that were read: whether they help, contradict each other, or were read as not meant."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping

from stores.sources.fields.splits import TEST, VAL
from stores.sources.summary import DataWarning, Unread
from stores.sources.tables.choice import NEARLY
from stores.sources.tables.columns import FILE_NAMES, caption_warnings, plain
from stores.sources.tables.guesses import has_boxes, says_no_role
from stores.sources.tables.reading import Fields, TableReading


def says_nothing(reading: TableReading) -> Unread | None:
    """Why a table that was read does not help, or None: it may be one of objects, or one of pairs of images."""
    if reading.roles:
        return None
    folders = set(map(posixpath.dirname, reading.found)) & set(map(posixpath.dirname, reading.further))
    if not reading.further:
        return Unread("a table of objects with boxes, several an image: no labels of images")
    return Unread("a table of pairs of images without labels or captions") if folders else None


def unread_columns(reading: TableReading, images: int) -> Unread:
    """Why a table gives images nothing, with the columns that may be labels or captions where it names images.

    Args:
        reading: the table.
        images: how many there are.
    """
    if reading.file_column is None:
        if several := reading.names_several():
            return Unread(several, "file_column")
        if absent := reading.absent_image():
            shown = f"it names images such as {absent}, and no image here is called so: give a table of their names"
            return Unread(shown, "labels", unless="fields")
        return Unread("none of its columns names images and gives them a label, captions or a split")
    if has_boxes(reading.columns):
        return Unread("it names images and gives boxes in them, which are no labels of images")
    rest = [column for column in reading.columns if column != reading.file_column]
    nested = [column for column in rest if reading.is_of_objects(column)]
    rest = [column for column in rest if column not in nested]
    others = [column for column in rest if not says_no_role(column) and reading.may_be_read(column)]
    others = others or [column for column in rest if says_no_role(column) and reading.is_of_words(column)]
    others = others or [
        column for column in rest if plain(column) not in FILE_NAMES and reading.may_hold_labels(column)
    ]
    others = others or [column for column in rest if reading.is_of_words(column)]
    if not others and nested:
        shown = f"it names images, and the objects in {', '.join(map(repr, nested[:6]))} are not read"
        return Unread(f"{shown}; save the class or caption of each image in a table (.csv)", "labels", unless="fields")
    if not others:
        return Unread("it names images, and gives them neither a label nor captions nor a split")
    names_all = len(reading.read().found) > NEARLY * images
    named = "it names all or nearly all images, and" if names_all else "it names images, and"
    shown = f"no name says what these columns are: {', '.join(map(repr, others[:6]))}"
    return Unread(
        f"{named} {shown}; label_column or caption_column does",
        "label_column",
        others[0] if len(others) == 1 else None,
        unless="table" if names_all else "fields",
    )


def column_warnings(reading: TableReading, split_of: Callable[[str], str | None]) -> Iterator[DataWarning]:
    """Say which columns were read that may not be meant, and which were not that may be.

    Args:
        reading: the table.
        split_of: the split that an image's path says.
    """
    yield from _split_warnings(reading, split_of)
    path, roles = reading.table.path, reading.roles
    if (column := reading.guessed) is not None and reading.options.labels is None:
        role = next(role for role, columns in roles.items() if column in columns)
        yield DataWarning(f"{path}: the only other column {column!r} is read as the {role}", f"{role}_column", column)
    if reading.no_splits is not None and reading.no_splits.reason:
        yield reading.no_splits.warning(path)
    if reading.options.caption_column is None:
        yield from caption_warnings(reading.columns, roles.get("caption", []), f"{path}: ")


def contradictions(found: Mapping[str, Fields], folder_of: Callable[[str], str | None]) -> Iterator[DataWarning]:
    """Say that names beside numbers of classes, or folders of the same classes, contradict the labels.

    Args:
        found: what tables say of each image.
        folder_of: the class that an image's folder names.
    """
    pairs = {(str(one.label), one.label_text) for one in found.values() if one.label is not None and one.label_text}
    if len({name for _, name in pairs}) < len(pairs):  # several names of a number may be those of individuals
        message = "numbers and names of the classes contradict each other: the numbers count and have no names"
        yield DataWarning(f"{message}; if the names are meant", "label_column")
    folders = {name: folder for name in found if (folder := folder_of(name)) is not None}
    classes = set(folders.values())
    wrong = [name for name, one in folders.items() if found[name].label in classes and found[name].label != one]
    if wrong:
        message = f"{len(wrong)} images such as {wrong[0]} have another label in the table than their folder"
        yield DataWarning(f"{message}: the table counts; if the folders are meant", "layout", "class-folders")


def _split_warnings(reading: TableReading, split_of: Callable[[str], str | None]) -> Iterator[DataWarning]:
    """Say how many images have the split of their table's name, and not that of their folder."""
    split = reading.table.only_split
    if split is None or "split" in reading.roles:
        return
    found = {name: split_of(name) for name, fields in reading.found.items() if fields.split == split}
    others = [name for name, own in found.items() if own not in (None, split) and {own, split} != {VAL, TEST}]
    if others:
        message = f"{len(others)} images are of the split {split}, as {reading.table.path} says"
        yield DataWarning(f"{message}, and lie in a folder of {found[others[0]]}, such as {others[0]}")
