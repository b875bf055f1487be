"""What is said of folders that are read as classes and may be something else."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from stores.sources.fields.splits import split_of_folder
from stores.sources.folders.meaning import FolderMeaning
from stores.sources.folders.nodes import SHOWN, are_hashes, says_nothing
from stores.sources.summary import DataWarning

# Fewer folders that look like hashes may be words by chance.
HASHES = 3


def nested_warnings(folders: FolderMeaning, paths: Iterable[str], layout: str, where: str) -> Iterator[DataWarning]:
    """Say that folders were read as domains of the same classes, or that classes have folders of their own.

    Args:
        folders: what the folders mean.
        paths: of the images.
        layout: the layout that reads the folders at the top as the classes.
        where: the data set.
    """
    if domains := folders.domains:
        shown = f"the {len(domains)} folders {domains[0]}, … have the same folders, which are read as the classes"
        yield DataWarning(f"{shown}: if the {len(domains)} are the classes, choose the layout", "layout", layout)
        return
    below: dict[str, set[str]] = {}
    for path in paths:
        inside = path.removeprefix(folders.wrapper).split("/")[:-1]
        top = [folder for folder in inside if not split_of_folder(folder)]
        if top and folders.of(path)[0] == top[0]:
            below.setdefault(top[0], set()).add("/".join(top[1:]))
    common = set.intersection(*below.values()) if len(below) > 1 else set[str]()
    if len(common - {""}) > 1 and not all(map(says_nothing, common)):
        shown = ", ".join(sorted(common)[:2])
        message = f"each class, such as {min(below)}, has the same folders ({shown}, …): if these are the classes"
        yield DataWarning(f"{message}, name one of the folders", "path", f"{where}/{min(below)}")
        return
    nested = {top: sorted({name for path in inside if (name := _named(path))}) for top, inside in below.items()}
    nested = {top: names for top, names in nested.items() if len(names) > 1}
    if nested and len(below) > 1:
        first, names = min(nested.items())
        message = f"classes such as {first} have folders of their own ({', '.join(names[:2])}, …), which are read as"
        yield DataWarning(f"{message} parts of them: if these are the classes, give each image's in a table", "labels")


def _named(path: str) -> str:
    """A path of folders below a class up to the last one that may be a class of its own, "" where none may.

    Numbers and words for images name none.
    """
    parts = path.split("/")
    while parts and (says_nothing(parts[-1]) or parts[-1].isdecimal()):
        parts.pop()
    return "/".join(parts)


def name_warnings(folders: FolderMeaning, classes: Collection[str], has_splits: bool) -> Iterator[DataWarning]:
    """Say which names of classes, and of folders that are none, may be meant otherwise.

    Args:
        folders: what the folders mean.
        classes: that images have.
        has_splits: whether an image has a split.
    """
    yield from _spelling_warnings(classes)
    yield from _part_warnings(folders, classes)
    if len(classes) >= HASHES and are_hashes(classes):
        message = f"the {len(classes)} folders ({min(classes)}, …) are called by hashes and are read as classes"
        yield DataWarning(f"{message}: if they are none, choose the layout", "layout", "images")
    for name in sorted(name for name in classes if name.lower() in SHOWN) if len(classes) > 1 else ():
        yield DataWarning(f"the folder {name} is read as a class: if its images are none of the set, move it out")
    for name in sorted(name for name in classes if split_of_folder(name)) if not has_splits else ():
        message = f"the folder {name} is read as a class, as those beside it are: if it is a split"
        yield DataWarning(f"{message}, choose the layout", "layout", "images")


def _spelling_warnings(classes: Collection[str]) -> Iterator[DataWarning]:
    """Say that classes differ by capitals alone."""
    spelled: dict[str, set[str]] = {}
    for name in classes:
        spelled.setdefault(name.casefold(), set()).add(name)
    if doubtful := sorted(sorted(names) for names in spelled.values() if len(names) > 1):
        message = f"the classes {' and '.join(map(repr, doubtful[0]))} differ by capitals alone and are read as two"
        yield DataWarning(f"{message}: if they are one, give their folders one name")


def _part_warnings(folders: FolderMeaning, classes: Collection[str]) -> Iterator[DataWarning]:
    """Say that folds are read as one set, that a folder holds the classes again, and that images of one have none."""
    parts = {part for folder in folders.meanings for part in folder.split("/")}
    folds = sorted(part for part in parts - {*classes} if re.fullmatch(r"(?i)(cv[-_ ]?)?folds?[-_ ]?\d+", part))
    if len(folds) > 1:
        yield DataWarning(f"the folders {folds[0]}, {folds[1]}, … are parts of one set: folds are not kept apart")
    for path in folders.copies:
        yield DataWarning(
            f"the folder {path} holds the same folders as lie beside it, and is read, too: if it is a copy, move it out"
        )
    for path in folders.unlabeled:
        message = f"the images in {path} have no class, as its name says: if it is a class, choose the layout"
        yield DataWarning(message, "layout", "class-folders")
