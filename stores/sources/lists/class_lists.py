"""One list of images a class: names alone, or names with 1 and -1 as PASCAL VOC has them ("cat_train.txt")."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stores.sources.fields.splits import class_without_split, split_in_words, split_of_folder, words_of
from stores.sources.lists.lines import LIST_WORDS, split_line, stem_of
from stores.sources.summary import DataWarning

Find = Callable[[str, str], str | None]
SIGNS = frozenset(("-1", "0", "1", "+1"))
# Lists of names alone are classes where more than this share of the images lies in one of them, and none in two.
NEARLY = 0.9


@dataclass
class ClassLists:
    """What lists of classes say.

    Attributes:
        labels: the one class of an image, by the list that says it and the image.
        named: all images that the lists name.
        several: images of several classes.
        plain: lists of names alone that were read as classes.
    """

    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    several: set[str] = field(default_factory=set)
    plain: list[str] = field(default_factory=list)

    def warnings(self) -> Iterator[DataWarning]:
        """Say that lists of names alone were read as classes."""
        if self.plain:
            message = f"the lists {', '.join(self.plain[:2])}, … name images alone and are read as classes: if they are"
            yield DataWarning(f"{message} none, choose the layout", "layout", "images")


def class_lists(read: Mapping[str, Sequence[str]], find: Find, images: int) -> ClassLists:
    """The classes that lists of one folder give, each of which is called by its class.

    Args:
        read: the lines of each list.
        find: the image that a name means in a folder.
        images: how many there are.
    """
    folders: dict[str, dict[str, Sequence[str]]] = {}
    for path, lines in read.items():
        if lines and _class_of(path):
            folders.setdefault(posixpath.dirname(path), {})[path] = lines
    found = ClassLists()
    for lists in folders.values():
        signed = {path: lines for path, lines in lists.items() if _are_signed(lines)}
        if len(set(map(_class_of, signed))) > 1:
            _add(found, signed, find, signed=True)
    plain = {path: lines for path, lines in read.items() if lines and _class_of(path)}
    return found if found.named else _of_names(plain, find, images)


def _of_names(lists: Mapping[str, Sequence[str]], find: Find, images: int) -> ClassLists:
    found = ClassLists()
    kept = {
        path: lines for path, lines in lists.items() if all(find(line, posixpath.dirname(path)) for line in lines[:100])
    }
    _add(found, kept, find, signed=False)
    classes = set(map(_class_of, kept))
    sure = len(classes) > 1 and not found.several and len(found.named) > NEARLY * images
    found.plain = sorted(kept)
    return found if sure else ClassLists()


def _add(found: ClassLists, lists: Mapping[str, Sequence[str]], find: Find, signed: bool) -> None:
    """Take up lists, with the classes of their images."""
    classes = {name: label for labels in found.labels.values() for name, label in labels.items()}
    for path, lines in lists.items():
        label = str(_class_of(path))
        own: dict[str, str] = {}
        for word, sign in map(split_line, lines):
            name = find(word if signed else f"{word} {sign}".strip(), posixpath.dirname(path))
            if name is None:
                continue
            found.named.add(name)
            if sign not in ("1", "+1") and signed:
                continue
            if classes.setdefault(name, label) != label:
                found.several.add(name)
            own[name] = label
        found.labels[path] = own
    for own in found.labels.values():
        for name in own.keys() & found.several:
            del own[name]


def _are_signed(lines: Sequence[str]) -> bool:
    """Whether behind each name stands 1, -1 or 0, and some are -1."""
    signs = {sign for _, sign in map(split_line, lines)}
    return "-1" in signs and signs <= SIGNS


def _class_of(path: str) -> str | None:
    """The class that a list is called by, its split aside; None for lists of a split or of everything."""
    stem = stem_of(path)
    if split_of_folder(stem) or set(words_of(stem)) <= LIST_WORDS:
        return None
    return class_without_split(stem) if split_in_words(stem) else stem
