"""What folder names mean: wrappers around everything, splits, classes, or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from stores.sources.fields.splits import (
    FILLERS,
    TRAIN,
    WORDS,
    name_without_split,
    split_in_words,
    split_of_folder,
    without_size,
    word_list,
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

    Folders around everything are looked through, and so are numbered parts (`part-1`, `fold_2`) and a folder in one of
    the same name. Then come split folders, where there are any, and below them (or above, as in `cat/test`) one folder
    a class; deeper folders belong to their class. Images beside class folders have no class. Where the classes lie
    below folders of their first letters (`a/abbey`), these are not classes.
    """
    root, meanings = folder_tree(paths), dict[str, tuple[str | None, str | None]]()
    _level(root, "", None, meanings)
    node, wrapper, own = root, "", ""
    while (name := _wrapper(node, own)) is not None:
        node, wrapper, own = node.folders[name], f"{wrapper}{name}/", name
    return FolderMeaning(meanings, wrapper)


Meanings = dict[str, tuple[str | None, str | None]]


def _level(node: Folder, path: str, split: str | None, meanings: Meanings) -> None:
    """Give a meaning to a folder above the classes and to all below it."""
    wrapper = _wrapper(node, path.rpartition("/")[2], part=split is not None)
    splits = split_level(node) if not split else None
    if wrapper is not None and not splits:
        _level(node.folders[wrapper], _join(path, wrapper), split, meanings)
    elif splits:
        for name, folder in node.folders.items():
            _part(folder, _join(path, name), splits.get(name), meanings)
    elif _are_numbered_parts(node):
        for name, folder in node.folders.items():
            _level(folder, _join(path, name), split, meanings)
    elif _are_letters(node):
        _classes_below_letters(node, path, split, meanings)
    else:
        fused = (_split_and_class(node) if not split else None) or {}
        for name, folder in node.folders.items():
            part, word = fused.get(name, (split, re.sub("^(label|class|category)=(?=.)", "", name)))
            _class(folder, _join(path, name), word, part, meanings)
    meanings[path] = (None, split)


def _part(node: Folder, path: str, split: str | None, meanings: Meanings) -> None:
    """The folder of one split; a folder beside those of the splits has none."""
    _level(node, path, split or "", meanings)
    if not split:
        for below in [known for known in meanings if known == path or known.startswith(f"{path}/")]:
            name, found = meanings[below]
            meanings[below] = (name, found or None)


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
    if len(exact) == 1 and not may_be_class(node, next(iter(exact))):
        return {name: exact.get(name) for name in names}
    loose = {name: split for name in names if (split := split_in_words(name))}
    rests = {rest if rest is None else rest.lower() for rest in map(name_without_split, names)}
    if len(loose) == len(names) and len(rests) == 1 and None not in rests and (len(names) > 1 or _is_leaf(node)):
        return dict(loose)
    pair = _pair_of_parts(loose)
    return {name: pair.get(name) for name in names} if pair else None


def _pair_of_parts(loose: dict[str, str]) -> dict[str, str] | None:
    """The folders of one thing's parts beside others ("seg_train" and "seg_test" beside "seg_pred"), or None.

    Args:
        loose: the split that a word of each folder's name says.
    """
    by_rest: dict[str, dict[str, str]] = {}
    for name, split in loose.items():
        by_rest.setdefault((name_without_split(name) or "").lower(), {})[name] = split
    if len(by_rest) != 1 or "" in by_rest:
        return None
    (found,) = by_rest.values()
    return found if len(set(found.values())) > 1 and TRAIN in found.values() else None


def _are_numbered_parts(node: Folder) -> bool:
    """Whether the folders are parts of a set, told apart by numbers, dates or sizes: "part-1", "512x768", "VOC2007"."""
    if len(node.folders) > 1 and all(map(_DATE_OR_SIZE.fullmatch, node.folders)):
        return True
    if len(node.folders) > 1 and all(map(_YEARLY.fullmatch, node.folders)):
        return len({name.rstrip("0123456789") for name in node.folders}) == 1 and _are_around_images(node)
    skeletons = {re.sub(r"\d+", "0", name.lower()) for name in node.folders}
    if len(node.folders) < 2 or len(skeletons) > 1 or "0" not in (skeleton := next(iter(skeletons))):
        return False
    return re.search(rf"(^|[^a-z])({PARTS})[-_ ]?0$", skeleton) is not None


def _are_around_images(node: Folder) -> bool:
    """Whether all folders hold nothing but folders that say nothing ("VOC2007/JPEGImages")."""
    return all(not one.direct and all(map(says_nothing, one.folders)) for one in node.folders.values())


def _are_letters(node: Folder) -> bool:
    """Whether the folders are the first letters of those in them (SUN397 and Places365: "a/abbey")."""
    if node.direct or not node.folders:
        return False
    return all(
        len(letter) == 1
        and letter.isalpha()
        and not folder.direct
        and all(name.lower().startswith(letter.lower()) for name in folder.folders)
        for letter, folder in node.folders.items()
    )


def _classes_below_letters(node: Folder, path: str, split: str | None, meanings: Meanings) -> None:
    """Folders with images below those of letters are classes by their whole path ("apartment_building/outdoor")."""
    pending = [(folder, _join(path, letter), "") for letter, folder in node.folders.items()]
    while pending:
        folder, where, name = pending.pop()
        meanings[where] = (name if folder.direct else None, split)
        pending += [(below, _join(where, part), _join(name, part)) for part, below in folder.folders.items()]


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


def may_be_class(node: Folder, name: str) -> bool:
    """Whether the one folder named like a split is a class: "valid" beside "invalid", none with subfolders.

    It is none where one beside it says nothing ("images"), is a number or "unlabeled", where all of them say splits, or
    where images lie beside them.
    """
    others = [other for other in node.folders if other != name]
    parts = {split_in_words(other) for other in others}
    if node.direct or (None not in parts and parts - {split_of_folder(name)}):
        return False
    return bool(others) and _is_leaf(node) and all(map(_may_name_class, others))


def _may_name_class(name: str) -> bool:
    """Whether a folder's name may be that of a class beside one named like a split: no number, no "unlabeled"."""
    return not (name.isdecimal() or says_nothing(name) or set(words_of(name)) & NO_CLASSES)


def _is_leaf(node: Folder) -> bool:
    return all(not folder.folders for folder in node.folders.values())


def _wrapper(node: Folder, own: str, part: bool = False) -> str | None:
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


def says_nothing(name: str) -> bool:
    """Whether a folder's name is one of those that hold any images ("images", "img_256", "JPEGImages")."""
    words = words_of(without_size(name))
    return bool(words) and all(word in FILLERS or word in EMPTY_WORDS for word in words) and not set(words) & set(WORDS)


# Words before the numbers of parts. "s1" and "v2" may be classes.
PARTS = "parts?|folds?|batch|batches|chunks?|shards?|splits?|subsets?|images|imgs|files|data|photos"
# Words of folders beside that of a split whose images are of no class.
NO_CLASSES = frozenset(word_list("extra extras unlabeled unlabelled unlabel unsup unsupervised additional distractors"))
_DATE_OR_SIZE = re.compile(r"(19|20)\d\d[-_.](0\d|1[012])([-_.][0-3]\d)?|\d{2,5}[x×]\d{2,5}")
_YEARLY = re.compile(r"[A-Za-z]+[-_]?(19|20)\d\d")
EMPTY_WORDS = frozenset(
    ("all", "raw", "original", "originals", "photo", "picture", "sample", "jpegs", "pngs", "center", "rgb")
)


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
