"""What folder names mean: wrappers around everything, splits, classes, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from stores.sources.fields.splits import split_of_folder
from stores.sources.folders.domains import are_domains
from stores.sources.folders.keys import KeyedFolders, keyed_folders
from stores.sources.folders.nodes import Folder, folder_tree, join, says_images
from stores.sources.folders.parts import (
    are_letters,
    are_numbered_parts,
    are_patients,
    are_sequences,
    are_views,
    are_years,
)
from stores.sources.folders.splits import is_unlabeled, split_and_class, split_level
from stores.sources.folders.wrappers import wrapper_of

Meanings = dict[str, tuple[str | None, str | None]]


@dataclass(frozen=True)
class FolderMeaning:
    """What the folders of some images mean.

    Attributes:
        meanings: class and split of every folder that holds images, by its path.
        wrapper: the folders around everything that were looked through.
        domains: folders that were taken for domains of the same classes.
        parts: folders with images that were taken for parts of the set, and could be classes by their names.
        unlabeled: folders beside those of classes whose name says that their images have none.
        copies: folders beside those of classes or splits that hold the same folders again.
    """

    meanings: Meanings
    wrapper: str
    domains: list[str]
    parts: list[str]
    unlabeled: list[str]
    copies: list[str]

    def of(self, path: str) -> tuple[str | None, str | None]:
        """(class, split) of the image at a path."""
        return self.meanings[path.rpartition("/")[0]]


def understand_folders(paths: Iterable[str], *, first_are_classes: bool = False) -> FolderMeaning:
    """Which class and split each folder of images means.

    Folders around everything are looked through, and so are numbered parts (`part-1`, `fold_2`), views (`image_2`,
    `image_3`), domains of the same classes (`photo/dog`, `sketch/dog`) and a folder in one of the same name. Then come
    split folders, where there are any, and below them (or above, as in `cat/test`) one folder a class; deeper folders
    belong to their class. Images beside class folders have no class. Where the classes lie below folders of their
    first letters (`a/abbey`), these are not classes. Folders that are called by a column (`label=cat`, `year=2019`)
    are what the column is.

    Args:
        paths: of the images.
        first_are_classes: whether folders of images are classes where they could be parts, and domains are.
    """
    root, reader = folder_tree(paths), _FolderReader(first_are_classes)
    reader.read(root, "", None)
    node, wrapper, own = root, "", ""
    while (name := wrapper_of(node, own)) is not None:
        node, wrapper, own = node.folders[name], f"{wrapper}{name}/", name
    return FolderMeaning(reader.meanings, wrapper, reader.domains, reader.parts, reader.unlabeled, reader.copies)


@dataclass
class _FolderReader:
    """Gives folders their meanings, from the top down; the fields are those of `FolderMeaning`."""

    first_are_classes: bool
    meanings: Meanings = field(default_factory=dict)
    domains: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    unlabeled: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)

    def read(self, node: Folder, path: str, split: str | None) -> None:
        """Give a meaning to a folder above the classes and to all below it."""
        wrapper = wrapper_of(node, path.rpartition("/")[2], part=split is not None)
        splits = split_level(node) if not split else None
        keyed = keyed_folders(node)
        if wrapper is not None and not splits and not (keyed and keyed.role):
            self.read(node.folders[wrapper], join(path, wrapper), split)
        elif splits:
            self.copies += [join(path, name) for name in copies_in(node)]
            for name, folder in node.folders.items():
                self._part(folder, join(path, name), splits.get(name))
        elif keyed is not None:
            self._keyed(node, path, split, keyed)
        elif are_patients(node) and not self.first_are_classes:
            self._patients(node, path, split)
        elif are_years(node) and not self.first_are_classes:
            for name, folder in node.folders.items():
                self._class(folder, join(path, name), None, split)
            self.parts += [join(path, name) for name in node.folders]
        elif self._are_parts(node, path):
            for name, folder in node.folders.items():
                self.read(folder, join(path, name), split)
        elif are_letters(node):
            self._below_letters(node, path, split)
        else:
            self._classes(node, path, split)
        self.meanings[path] = (None, split)

    def _are_parts(self, node: Folder, path: str) -> bool:
        """Whether the folders are parts of the set; those that could be classes are noted."""
        if not are_numbered_parts(node):
            return are_views(node) or are_sequences(node)
        doubtful = [join(path, name) for name, one in node.folders.items() if one.direct and not says_images(name)]
        if len(doubtful) == len(node.folders):
            self.parts += doubtful
            return not self.first_are_classes
        return True

    def _part(self, node: Folder, path: str, split: str | None) -> None:
        """The folder of one split; a folder beside those of the splits has none."""
        self.read(node, path, split or "")
        if not split:
            for below in [known for known in self.meanings if known == path or known.startswith(f"{path}/")]:
                name, found = self.meanings[below]
                self.meanings[below] = (name, found or None)

    def _keyed(self, node: Folder, path: str, split: str | None, keyed: KeyedFolders) -> None:
        """Folders of a column: classes where it is one of labels, else parts of the set."""
        for name, folder in node.folders.items():
            value = keyed.values[name]
            if keyed.role == "label":
                self._class(folder, join(path, name), value, split)
            elif keyed.role == "split":
                self._part(folder, join(path, name), split_of_folder(value or ""))
            else:
                self.read(folder, join(path, name), split)

    def _patients(self, node: Folder, path: str, split: str | None) -> None:
        """Folders of patients, whose own folders are classes where several patients have the same ones."""
        found = {name: _FolderReader(self.first_are_classes) for name in node.folders}
        for name, reader in found.items():
            reader.read(node.folders[name], join(path, name), split)
        counts = Counter(word for reader in found.values() for word in _classes_of(reader.meanings))
        shared = len(counts) > 1 and sum(count > 1 for count in counts.values()) >= len(counts) / 2
        for reader in found.values():
            self.meanings |= {
                where: (word if shared else None, part) for where, (word, part) in reader.meanings.items()
            }
        self.parts += [] if shared else [join(path, name) for name in found]

    def _classes(self, node: Folder, path: str, split: str | None) -> None:
        """One folder a class, below folders of domains where there are these."""
        found = {name: _FolderReader(self.first_are_classes) for name in node.folders}
        if not self.first_are_classes and not any(one.direct for one in node.folders.values()):
            for name, reader in found.items():
                reader.read(node.folders[name], join(path, name), split)
            if are_domains(list(found), [_classes_of(reader.meanings) for reader in found.values()]):
                self.domains += [join(path, name) for name in found]
                for reader in found.values():
                    self.meanings |= reader.meanings
                return
        fused = (split_and_class(node) if not split else None) or {}
        others = self._others(node, path)
        for name, folder in node.folders.items():
            part, word = fused.get(name, (split, name))
            if name in others:
                self.read(folder, join(path, name), split)
            else:
                self._class(folder, join(path, name), None if join(path, name) in self.unlabeled else word, part)

    def _others(self, node: Folder, path: str) -> set[str]:
        """The folders among those of classes that are read as they are around: copies, and the labeled one.

        Folders of no class are noted.
        """
        if self.first_are_classes:
            return set()
        unlabeled = {name for name in node.folders if is_unlabeled(name)}
        classes = node.folders.keys() - unlabeled
        self.unlabeled += [join(path, name) for name in sorted(unlabeled) if classes]
        if unlabeled and len(classes) == 1 and not node.folders[next(iter(classes))].direct:
            return classes
        copies = copies_in(node, unlabeled)
        self.copies += [join(path, name) for name in sorted(copies)]
        return copies

    def _class(self, node: Folder, path: str, name: str | None, split: str | None) -> None:
        """The folder of one class, and those below it; split folders in it are its parts."""
        splits = (split_level(node) if split is None else None) or {}
        self.meanings[path] = (name, split)
        pending = [(below, join(path, part), splits.get(part, split)) for part, below in node.folders.items()]
        while pending:
            folder, where, part_split = pending.pop()
            self.meanings[where] = (name, part_split)
            pending += [(below, join(where, part), part_split) for part, below in folder.folders.items()]

    def _below_letters(self, node: Folder, path: str, split: str | None) -> None:
        """Folders with images below those of letters are classes by their whole path ("apartment_building/outdoor")."""
        pending = [(folder, join(path, letter), "") for letter, folder in node.folders.items()]
        while pending:
            folder, where, name = pending.pop()
            self.meanings[where] = (name if folder.direct else None, split)
            pending += [(below, join(where, part), join(name, part)) for part, below in folder.folders.items()]


def copies_in(node: Folder, aside: Collection[str] = ()) -> set[str]:
    """The folders that hold those beside them again ("cell_images/cell_images", as Kaggle has it), some left aside."""
    names = node.folders.keys() - set(aside)
    return {
        name
        for name, one in node.folders.items()
        if len(names - {name}) > 1 and not one.direct and one.folders.keys() == names - {name}
    }


def _classes_of(meanings: Meanings) -> set[str]:
    return {name for name, _ in meanings.values() if name is not None}
