"""What folder names mean: wrappers around everything, splits, classes, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stores.sources.fields.splits import (
    FILLERS,
    TRAIN,
    WORDS,
    name_without_split,
    split_in_words,
    split_of_folder,
    words_of,
)


@dataclass
class Folder:
    """A folder with images at any depth: its subfolders, and how many images lie in it directly and below it."""

    folders: dict[str, Folder] = field(default_factory=dict)
    direct: int = 0
    total: int = 0


@dataclass(frozen=True)
class FolderMeaning:
    """Class and split of every folder that holds images, by its path; and the wrapper that was looked through."""

    meanings: dict[str, tuple[str | None, str | None]]
    wrapper: str

    def of(self, path: str) -> tuple[str | None, str | None]:
        """(class, split) of the image at a path."""
        return self.meanings[path.rpartition("/")[0]]


def folder_tree(paths: Iterable[str]) -> Folder:
    """The folders of some images."""
    root = Folder()
    counts: dict[str, int] = {}
    for path in paths:
        folder = path.rpartition("/")[0]
        counts[folder] = counts.get(folder, 0) + 1
    for folder, count in counts.items():
        node = root
        node.total += count
        for part in folder.split("/") if folder else ():
            node = node.folders.setdefault(part, Folder())
            node.total += count
        node.direct += count
    return root


def understand_folders(paths: Iterable[str]) -> FolderMeaning:
    """Which class and split each folder of images means.

    Folders around everything are looked through. Then come split folders, where there are any, and below them (or
    above, as in `cat/test`) one folder a class; deeper folders belong to their class. Images beside class folders have
    no class.
    """
    root, meanings = folder_tree(paths), dict[str, tuple[str | None, str | None]]()
    _level(root, "", None, meanings)
    node, wrapper = root, ""
    while (name := _wrapper(node)) is not None:
        node, wrapper = node.folders[name], f"{wrapper}{name}/"
    return FolderMeaning(meanings, wrapper)


Meanings = dict[str, tuple[str | None, str | None]]


def _level(node: Folder, path: str, split: str | None, meanings: Meanings) -> None:
    """Give a meaning to a folder above the classes and to all below it."""
    wrapper = _wrapper(node, part=split is not None)
    splits = split_level(node) if split is None else None
    if wrapper is not None and not splits:
        _level(node.folders[wrapper], _join(path, wrapper), split, meanings)
    elif splits:
        for name, folder in node.folders.items():
            _part(folder, _join(path, name), splits.get(name), meanings)
    else:
        fused = (_split_and_class(node) if split is None else None) or {}
        for name, folder in node.folders.items():
            part, word = fused.get(name, (split, name))
            _class(folder, _join(path, name), word, part, meanings)
    meanings[path] = (None, split)


def _part(node: Folder, path: str, split: str | None, meanings: Meanings) -> None:
    """The folder of one split; a folder beside those of the splits has none."""
    _level(node, path, split or "", meanings)
    if not split:
        for below in [known for known in meanings if known == path or known.startswith(f"{path}/")]:
            meanings[below] = (meanings[below][0], None)


def _class(node: Folder, path: str, name: str, split: str | None, meanings: Meanings) -> None:
    """The folder of one class, and those below it; split folders in it are its parts."""
    splits = (split_level(node) if split is None else None) or {}
    meanings[path] = (name, split)
    pending = [(below, _join(path, part), splits.get(part, split)) for part, below in node.folders.items()]
    while pending:
        folder, where, part_split = pending.pop()
        meanings[where] = (name, part_split)
        pending += [(below, _join(where, part), part_split) for part, below in folder.folders.items()]


def split_level(node: Folder) -> dict[str, str | None] | None:
    """The split of each subfolder, when this is where a data set is cut into its parts, else None."""
    names = list(node.folders)
    exact = {name: split for name in names if (split := split_of_folder(name))}
    if exact and (len(exact) == len(names) or len(set(exact.values())) > 1):
        return {name: exact.get(name) for name in names}
    if len(exact) == 1 and not _may_be_class(node, next(iter(exact))):
        return {name: exact.get(name) for name in names}
    loose = {name: split for name in names if (split := split_in_words(name))}
    rests = {rest if rest is None else rest.lower() for rest in map(name_without_split, names)}
    if len(loose) == len(names) and len(rests) == 1 and None not in rests and (len(names) > 1 or _is_leaf(node)):
        return dict(loose)
    return None


def _split_and_class(node: Folder) -> dict[str, tuple[str | None, str]] | None:
    """(split, class) of each subfolder, when each name is a split with a class ("trainA", "trainB", "testB").

    Every class must be in the training part, and one in two parts: "train_station" and "test_tube" are classes.
    """
    found = {name: (split_in_words(name), name_without_split(name)) for name in node.folders}
    splits, classes = {split for split, _ in found.values()}, {word for _, word in found.values()}
    if None in splits or not all(classes) or len(classes) < 2 or len(set(found.values())) < len(found):
        return None
    if {word for split, word in found.values() if split == TRAIN} != classes or len(found) == len(classes):
        return None
    return {name: (split, word or "") for name, (split, word) in found.items()}


def _may_be_class(node: Folder, name: str) -> bool:
    """Whether the one folder named like a split is a class: "train" beside "bus" and "car", none with subfolders."""
    return name.lower() == "train" and len(node.folders) > 2 and _is_leaf(node)


def _is_leaf(node: Folder) -> bool:
    return all(not folder.folders for folder in node.folders.values())


def _wrapper(node: Folder, part: bool = False) -> str | None:
    """The one subfolder that is around everything and no class: it holds splits or several folders, or says nothing."""
    if len(node.folders) != 1 or node.direct:
        return None
    ((name, below),) = node.folders.items()
    if says_nothing(name):
        return name
    if part or split_of_folder(name):
        return None
    return name if _branches(below) else None


def _branches(node: Folder) -> bool:
    """Whether several folders, or one of a split, lie in this folder or in the only one below it, and so on."""
    while len(node.folders) == 1 and not node.direct:
        if split_level(node):
            return True
        (node,) = node.folders.values()
    return len(node.folders) > 1


def says_nothing(name: str) -> bool:
    """Whether a folder's name is one of those that hold any images ("images", "img_256", "JPEGImages")."""
    words = words_of(name)
    return bool(words) and all(word in FILLERS or word in EMPTY_WORDS for word in words) and not set(words) & set(WORDS)


EMPTY_WORDS = frozenset(
    ("all", "raw", "original", "originals", "photo", "picture", "sample", "jpegs", "pngs", "center")
)


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
