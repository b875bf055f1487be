"""One tar a class, in a folder (ImageNet's 1,000 class tars) or in a tar of tars (ILSVRC2012_img_train.tar)."""

from __future__ import annotations

import posixpath
import re
from functools import cached_property

from stores.sources.fields.splits import (
    TRAIN,
    class_without_split,
    split_in_words,
    split_of_folder,
    split_of_folders,
)
from stores.sources.folders.nodes import Folder
from stores.sources.folders.splits import may_be_class
from stores.sources.layouts.class_folders import fill_unlabeled
from stores.sources.layouts.layout import ImageRow, Layout, Reading
from stores.sources.paths import TAR_SUFFIXES, ZIP_SUFFIXES, strip_suffix

WNID = re.compile(r"n\d{8}")


class ClassTars(Layout):
    """The name of each archive is the class of its images."""

    name = "class-tars"
    description = "one archive of images a class"

    def recognize(self) -> int:
        if not self.tree.in_archives or not self._are_classes:
            return 0
        return sum(self._class(name) is not None for name in self.tree.images)

    def list_images(self) -> Reading:
        rows = [ImageRow(name, self._class(name), split=self._split(name)) for name in self.tree.images]
        reading = Reading(rows)
        fill_unlabeled(self, reading)
        return reading

    def _class(self, name: str) -> str | None:
        stem = posixpath.basename(self.tree.files[name].archive)
        if self._split_and_class and stem:
            return class_without_split(stem)
        if self._nested and not self._is_nested(name):
            return None
        return None if not stem or (split_of_folder(stem) and stem != self._lone) else stem

    def _split(self, name: str) -> str | None:
        file = self.tree.files[name]
        folders, stem = posixpath.split(file.archive)
        if stem == self._lone:
            return split_of_folders(folders)
        named = split_of_folders(folders)
        outer = file.source if self._class(name) != posixpath.basename(file.source).split(".")[0] else ""
        loose = self._split_and_class or (self._nested and not self._is_nested(name))
        own = split_in_words(stem) if loose else split_of_folder(stem)
        return named or own or split_in_words(posixpath.basename(outer))

    @cached_property
    def _lone(self) -> str | None:
        """The one archive that is called like a split beside others that are not, "valid" beside "invalid"."""
        stems = {posixpath.basename(self.tree.files[name].archive) for name in self.tree.images} - {""}
        named = [stem for stem in stems if split_of_folder(stem)]
        beside = Folder({stem: Folder() for stem in stems})
        return named[0] if len(named) == 1 and may_be_class(beside, named[0]) else None

    @cached_property
    def _split_and_class(self) -> bool:
        """Whether each archive's name is a split with a class ("train_cat", "val_cat"), every class in two splits."""
        stems = {posixpath.basename(self.tree.files[name].archive) for name in self.tree.images}
        found = {(split_in_words(stem), class_without_split(stem)) for stem in stems}
        classes = {word for _, word in found}
        if None in classes or "" in classes or len(classes) < 2 or len(found) < len(stems):
            return False
        trained = {word for split, word in found if split == TRAIN}
        return trained == classes and len(found) > len(classes)

    @cached_property
    def _are_classes(self) -> bool:
        """Whether the archives' names are those of classes: each has words of its own, and no folders inside."""
        images = [name for name in self.tree.images if self._is_nested(name)] if self._nested else self.tree.images
        stems = {posixpath.basename(self.tree.files[name].archive) for name in images}
        names = {stem for stem in stems if stem and (not split_of_folder(stem) or stem == self._lone)}
        if len(names) < 2 or not all(map(self._is_flat, self.tree.images)):
            return False
        if all(map(WNID.fullmatch, names)) or all("class" in stem.lower() for stem in names):
            return True
        if self._split_and_class:
            return True
        words = {re.sub(r"[\d\W_]+", " ", stem).strip().lower() for stem in names}
        return len(words) == len(names) and "" not in words and not all(map(split_in_words, names))

    @cached_property
    def _nested(self) -> bool:
        """Whether there are archives in an archive: others beside it are parts, not classes."""
        return any(map(self._is_nested, self.tree.images))

    def _is_nested(self, name: str) -> bool:
        file = self.tree.files[name]
        return file.archive != strip_suffix(file.source, TAR_SUFFIXES + ZIP_SUFFIXES) and bool(file.archive)

    def _is_flat(self, name: str) -> bool:
        file = self.tree.files[name]
        folder = file.path.rpartition("/")[0]
        return folder in ("", ".", posixpath.basename(file.archive))
