"""Names and paths: what counts as an image, what a path says about class and split, and what may not be opened."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"}
)
SPLITS = {"train": "train", "training": "train"} | dict.fromkeys(("val", "valid", "validation", "test"), "val")


class SourceError(ValueError):
    """An image source that cannot be used as it is; the message says what was expected and what to do."""


def is_hidden(name: str) -> bool:
    """Whether a path has a part that is hidden (".x") or that archivers add (`__MACOSX`)."""
    return any(part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in name.split("/"))


def is_image(name: str) -> bool:
    """Whether a path is an image by its suffix, and neither hidden nor an archiver's by-product."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not is_hidden(name)


def safe_name(name: str, where: str) -> str:
    """`name` as a plain relative path ("./a//b" becomes "a/b"); `where` names the file it came from.

    Raises `SourceError` for names that could leave a folder on any system (absolute, "..", a drive), and for names
    that are not text (not UTF-8, control characters), as those cannot be written to an index.
    """
    parts = re.split(r"[/\\]", name)
    if name[:1] in ("/", "\\") or ".." in parts or re.match(r"[A-Za-z]:", name):
        raise SourceError(
            f"{where}: expected names below the folder, found {name!r}; make it again with relative names"
        )
    # Lone surrogates stand for bytes that are not UTF-8.
    if not name or re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", name):
        raise SourceError(f"{where}: expected UTF-8 names without control characters, found {name!r}; rename it")
    return PurePosixPath(name).as_posix()


def contained_path(root: str, source: str) -> Path:
    """The path of `source` below `root`; `SourceError` when it, or a link in it, leads outside."""
    path = Path(root, safe_name(source, root))
    real_root = os.path.realpath(root)
    if not Path(os.path.realpath(path)).is_relative_to(real_root):
        raise SourceError(f"{path}: expected a file inside {real_root}, found a link that leads out; copy the file in")
    return path


def class_and_split(name: str) -> tuple[str | None, str | None]:
    """Class and split of a relative path: the first folder, and a split folder above it.

    "cat/1.png" → ("cat", None), "test/cat/1.png" → ("cat", "val"), "train/1.png" → (None, "train").
    """
    folders = name.split("/")[:-1]
    split = SPLITS.get(folders[0].lower()) if folders else None
    if split is not None:
        folders = folders[1:]
    return (folders[0] if folders else None), split


def container_split(name: str) -> str | None:
    """Split that the path of an archive names: a folder, or the start of its file name ("val-00003.tar")."""
    folders, file_name = name.split("/")[:-1], name.split("/")[-1]
    words = [*folders, re.split(r"[-_.]", file_name)[0]]
    return next((SPLITS[word.lower()] for word in words if word.lower() in SPLITS), None)


def walk(root: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (relative path, entry) of the regular files below `root`, in sorted order, hidden ones left out.

    A link to a file inside the root counts as a file. Links that lead out, and links to folders (they may form a
    circle), raise `SourceError`.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        below = []
        for entry in _sorted_entries(os.path.join(root, folder)):
            name = f"{folder}/{entry.name}" if folder else entry.name
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                below.append(name)
            elif (not entry.is_symlink() or _is_inner_file(root, name, entry)) and entry.is_file():
                yield name, entry
        pending += reversed(below)


def _sorted_entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed: {error.strerror}") from error


def _is_inner_file(root: str, name: str, entry: os.DirEntry[str]) -> bool:
    if entry.is_dir():
        raise SourceError(f"{entry.path}: expected a folder, found a link to one; name the real folder or copy it in")
    contained_path(root, name)
    return True
