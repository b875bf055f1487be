"""Folders around everything, which are looked through, and which keys leave out in archives."""

from __future__ import annotations

from stores.sources.fields.splits import split_of_folder
from stores.sources.folders.nodes import Folder, says_nothing
from stores.sources.folders.splits import split_level
from stores.sources.paths import is_image


def wrapper_of(node: Folder, own: str, part: bool = False) -> str | None:
    """The one subfolder that is around everything and no class: it holds splits or several folders, or says nothing.

    Args:
        node: the folder.
        own: its name; a folder of the same name in it is around everything ("train/train", as Kaggle unpacks).
        part: whether it is a part of the data set.
    """
    if len(node.folders) != 1 or node.direct:
        return None
    ((name, below),) = node.folders.items()
    if says_nothing(name) or name.lower() == own.lower() or _only_repeats(below, name):
        return name
    if not part and not split_of_folder(name) and not below.direct and all(map(says_nothing, below.folders)):
        return name
    if part or split_of_folder(name):
        return None
    return name if _branches(below) else None


def _only_repeats(node: Folder, name: str) -> bool:
    """Whether a folder holds nothing but a folder of its own name."""
    return not node.direct and [below.lower() for below in node.folders] == [name.lower()]


def _branches(node: Folder) -> bool:
    """Whether several folders, or one of a split, lie in this folder or in the only one below it, and so on."""
    while len(node.folders) == 1 and not node.direct:
        if split_level(node):
            return True
        (node,) = node.folders.values()
    return len(node.folders) > 1


def wrapper_folder(names: list[str]) -> str:
    """The one top folder ("imagenette2/") that holds nothing but the folders of all images, or ""."""
    images: list[list[str]] = []
    for name in names:
        if is_image(name):
            if "/" not in name:
                return ""
            images.append(name.split("/"))
    tops = {parts[0] for parts in images}
    if len(tops) != 1 or any(len(parts) < 3 for parts in images) or split_of_folder(next(iter(tops))):
        return ""
    # One folder in one folder may just as well be the only class.
    return f"{next(iter(tops))}/" if len({parts[1] for parts in images}) > 1 else ""
