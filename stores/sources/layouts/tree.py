"""The files of a data set, in folders and archives alike: their names, where their bytes lie, and which are images."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, NamedTuple

from stores.sources.fields.file_splits import split_of_name, splits_of_files, splits_of_names
from stores.sources.fields.hub_configs import HubFiles
from stores.sources.fields.problems import Problems
from stores.sources.paths import IMAGE_SUFFIXES, TABLE_SUFFIXES, SourceError
from stores.sources.summary import DataWarning

# What CVAT calls its file of all images.
CVAT = "annotations.xml"
MAX_TEXT_BYTES = 1024 * 1024
MAX_TABLE_BYTES = 2**31
MAX_JSON_BYTES = 2**30
# Notes of a data set, and Kaggle's submissions, which hold made-up labels.
SKIPPED_WORDS = ("submission", "readme", "license", "requirements", "_stats", "dataset_info", "config")


class TreeFile(NamedTuple):
    """One file: the archive it is in, its path there, and where its bytes lie.

    The archive is its name without suffix, "" for a folder or an archive that was named itself.
    """

    archive: str
    path: str
    source: str
    offset: int
    num_bytes: int

    @property
    def name(self) -> str:
        """Its name in the tree: archive and path."""
        return f"{self.archive}/{self.path}" if self.archive else self.path


@dataclass
class FileTree:
    """All files of a data set by name, in the order they lie.

    Attributes:
        where: what errors name.
        kind: "folder", "tar" or "zip": where the images lie.
        files: every file that a layout may use; archives stand for their members.
        skipped: names of files and links that no layout sees, with the reason.
        read: the bytes of a file of at most so many.
        wrapper: the folder around everything in archives, which keys leave out.
        open_file: the same, as an open file.
        root: the folder on disk that loose files are below.
        problems: what is damaged in the archives.
        masked: whether masks of the images were left out.
        warnings: what looks wrong before a layout is chosen.
        declared_splits: the split that the card of the data set gives to archives.
        declared_paths: paths of images as the card means them, where these are others: below a folder of their split.
    """

    where: str
    kind: str
    files: dict[str, TreeFile]
    skipped: dict[str, str]
    read: Callable[[TreeFile, int], bytes]
    open_file: Callable[[TreeFile, int], IO[bytes]]
    wrapper: str = ""
    root: str = ""
    problems: Problems = field(default_factory=Problems)
    masked: bool = False
    warnings: list[DataWarning] = field(default_factory=list)
    declared_splits: dict[str, str] = field(default_factory=dict)
    declared_paths: dict[str, str] = field(default_factory=dict)

    @cached_property
    def images(self) -> list[str]:
        """Names of the images, in the order they lie; loose ones beside archives are none."""
        return image_names(self.files, in_archives=self.in_archives)

    @cached_property
    def tables(self) -> list[str]:
        """Names of files that may be tables: none of a text beside an image, and no huge JSON."""
        found = [name for name in self.files if name.lower().endswith(TABLE_SUFFIXES)]
        return [name for name in found if name.rpartition(".")[0] not in self.stems and self._may_be_table(name)]

    @cached_property
    def stems(self) -> set[str]:
        """Names of the images without suffix: a text of such a name stands beside an image."""
        return {name.rpartition(".")[0] for name in self.images}

    def _may_be_table(self, name: str) -> bool:
        base = name.rpartition("/")[2].lower()
        if any(word in base for word in SKIPPED_WORDS):
            return False
        if base.endswith(".xml"):
            return base == CVAT  # others are of one image each
        return not base.endswith(".json") or self.files[name].num_bytes <= MAX_JSON_BYTES

    @cached_property
    def in_archives(self) -> bool:
        """Whether the images lie in archives."""
        return self.kind != "folder"

    def key(self, name: str) -> str:
        """The key of an image: its name without the folder that is around everything in an archive."""
        file = self.files.get(name)
        if file is None or not self.wrapper:
            return name
        path = file.path.removeprefix(self.wrapper)
        return f"{file.archive}/{path}" if file.archive else path

    def path(self, name: str) -> str:
        """The path of an image whose folders say classes and splits."""
        return self.declared_paths.get(name) or self.files[name].path.removeprefix(self.wrapper)

    def container_split(self, name: str) -> str | None:
        """The split that an archive's path names, or None for a plain file."""
        file = self.files[name]
        return self._splits.get(file.source) or self._splits.get(file.archive) if self.in_archives else None

    @cached_property
    def _splits(self) -> dict[str, str | None]:
        """The split that the path of each archive says, and that of each archive in one."""
        sources = {file.source for file in self.files.values() if not is_loose(file)}
        archives = {file.archive for file in self.files.values()} - {""}
        return splits_of_files(archives) | splits_of_files(sources) | self.declared_splits

    def table_split(self, path: str) -> str | None:
        """The split that the name of a table says, beside those in its folder where it lies in the tree."""
        return self._splits_of_tables.get(path, split_of_name(posixpath.basename(path).split(".")[0]))

    @cached_property
    def _splits_of_tables(self) -> dict[str, str | None]:
        folders: dict[str, dict[str, str]] = {}
        for path in self.tables:
            folder, base = posixpath.split(path)
            folders.setdefault(folder, {})[path] = base.split(".")[0]
        found: dict[str, str | None] = {}
        for names in folders.values():
            splits = splits_of_names(set(names.values()))
            found |= {path: splits[stem] for path, stem in names.items()}
        return found

    def text(self, name: str) -> str:
        """The text of a small file beside an image.

        Raises:
            SourceError: it is too large, unreadable, or not UTF-8.
        """
        file = self.files[name]
        if file.num_bytes > MAX_TEXT_BYTES:
            where = f"{self.where}, {name}"
            raise SourceError(f"{where}: expected at most {MAX_TEXT_BYTES} bytes of text; received {file.num_bytes}")
        try:
            return self.read(file, MAX_TEXT_BYTES).decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            where = f"{self.where}, {name}"
            raise SourceError(f"{where}: expected UTF-8; received other bytes ({error.reason})") from error

    def inside(self, path: str) -> str | None:
        """The name in the tree of a file that a path of it or of the disk means, or None where it lies elsewhere."""
        if path in self.files:
            return path
        relative = os.path.relpath(os.path.realpath(path), os.path.realpath(self.root)) if self.root else ".."
        name = Path(relative).as_posix()
        return name if name in self.files else None

    def open(self, name: str) -> IO[bytes]:
        """A table of the tree, opened for reading.

        Raises:
            SourceError: it cannot be read, or is above 2 GiB.
        """
        return self.open_file(self.files[name], MAX_TABLE_BYTES)

    def lines(self, name: str) -> list[str]:
        """The lines of a list of the tree that are not empty, without space around them; the errors of `open`."""
        with self.open(name) as file:
            text = file.read().decode("utf-8", errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()]


def keep_configuration(tree: FileTree, files: HubFiles) -> None:
    """Leave out the files of other configurations than the one that is read, and give the others their splits."""
    left_out = [name for name, file in tree.files.items() if (file.source if file.archive else name) in files.left_out]
    for name in left_out:
        file = tree.files.pop(name)
        tree.skipped[name] = files.why_left_out(file.source if file.archive else name)
    tree.declared_splits = {name: split for name, split in files.splits.items() if tree.in_archives}
    for name, split in files.splits.items() if not tree.in_archives else ():
        tree.declared_paths[name] = posixpath.join(split, posixpath.relpath(name, files.folders[name] or "."))
    if left_out:
        example = left_out[0]
        message = f"{len(left_out)} files such as {example} are not read: {tree.skipped[example]}"
        tree.warnings.append(DataWarning(f"{message}; name its folder to read it", "path"))


def image_names(files: dict[str, TreeFile], *, in_archives: bool) -> list[str]:
    """Names of the images among some files, in their order; loose ones beside archives are none."""
    suffixes = tuple(IMAGE_SUFFIXES)
    return [
        name for name, file in files.items() if name.lower().endswith(suffixes) and not (in_archives and is_loose(file))
    ]


def is_loose(file: TreeFile) -> bool:
    """Whether a file of a tree lies on disk itself, in no archive."""
    return not file.archive and file.source == file.path
