"""Files of a folder tree: listed in sorted order, links followed once, and read whole."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from stores.sources.items import UNKNOWN_BYTES
from stores.sources.paths import SourceError, contained_path, is_hidden, is_text, read_error, safe_name

MAX_IMAGE_BYTES = 256 * 1024 * 1024


@dataclass
class FolderListing:
    """The regular files below a root by relative path, with their entries, and what was left out with its reason."""

    files: dict[str, os.DirEntry[str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass
class _Walk:
    """One walk: the real folders already entered, so that a circle of links ends."""

    root: str
    follow_links: bool
    found: FolderListing = field(default_factory=FolderListing)
    entered: set[tuple[int, int]] = field(default_factory=set)

    def run(self) -> FolderListing:
        pending = [""]
        while pending:
            folder = pending.pop()
            below: list[str] = []
            for entry in self._entries(folder):
                self._visit(f"{folder}/{entry.name}" if folder else entry.name, entry, below)
            pending += reversed(below)
        return self.found

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """The entries of a folder; one that may not be read is set apart, unless it is the root."""
        try:
            return _sorted_entries(os.path.join(self.root, folder))
        except PermissionError as error:
            if not folder:
                raise SourceError(f"{self.root}: cannot be listed: {error.strerror}") from error
            self.found.skipped[folder] = f"a folder that cannot be listed: {error.strerror}"
            return []

    def _visit(self, name: str, entry: os.DirEntry[str], below: list[str]) -> None:
        if is_hidden(entry.name):
            self.found.skipped[name] = "hidden"
        elif not is_text(entry.name):
            self.found.skipped[name] = "a name that is not UTF-8 or has control characters"
        elif entry.is_symlink() and (reason := self._refused_link(entry)):
            self.found.skipped[name] = reason
        elif entry.is_dir():
            below.append(name)
        elif entry.is_file():
            self.found.files[name] = entry
        else:
            self.found.skipped[name] = "neither a file nor a folder"

    def _refused_link(self, entry: os.DirEntry[str]) -> str | None:
        """Why a link is not followed, or None; a folder is entered by one link alone, and never if it lies inside."""
        if not os.path.exists(entry.path):
            return "a link to nothing"
        if not self.follow_links:
            return "a link (follow_links is off)"
        if not entry.is_dir():
            return None
        if Path(os.path.realpath(entry.path)).is_relative_to(os.path.realpath(self.root)):
            return "a link to a folder that is read where it lies"
        stat = entry.stat()
        identity = stat.st_dev, stat.st_ino
        if identity in self.entered or _leads_above(entry.path, self.root):
            return "a link to a folder that is read already"
        self.entered.add(identity)
        return None


def list_folder(root: str, follow_links: bool) -> FolderListing:
    """The regular files below `root` in sorted order; hidden ones, and links that are not followed, are set apart.

    Raises:
        SourceError: a folder that cannot be listed.
    """
    return _Walk(root, follow_links).run()


def _leads_above(path: str, root: str) -> bool:
    """Whether a link leads to a folder that holds the root, which would be read again and again."""
    return Path(os.path.realpath(root)).is_relative_to(os.path.realpath(path))


def _sorted_entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except PermissionError:
        raise
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed: {error.strerror}") from error


def read_file(root: str, source: str, num_bytes: int, follow_links: bool, most: int = MAX_IMAGE_BYTES) -> bytes:
    """The bytes of the regular file `source` below `root`, at most `most`.

    Raises:
        SourceError: it is missing, unreadable, too large, outside the root, or not of `num_bytes` (where known).
    """
    # A path as text: pathlib takes a tenth of the time of a listing of texts.
    path = os.path.join(root, safe_name(source, root)) if follow_links else str(contained_path(root, source))
    try:
        if not os.path.isfile(path):
            received = "something else" if os.path.exists(path) else "nothing"
            raise SourceError(f"{path}: expected a file; received {received}")
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise read_error(path, error) from error
    if len(data) > most:
        raise SourceError(f"{path}: expected at most {most} bytes; received a larger file")
    return check_size(data, num_bytes, path)


def read_named(root: str, path: str, where: str, follow_links: bool) -> bytes:
    """The file below `root` that a row names instead of holding its bytes.

    Raises:
        SourceError: it lies elsewhere, or cannot be read; `where` names the row.
    """
    name = os.path.relpath(path, root) if os.path.isabs(path) else path
    try:
        safe_name(name, where)
    except SourceError as error:
        raise SourceError(f"{where}: expected a path below {root}; received {path!r}; give image_root") from error
    try:
        return read_file(root, name, UNKNOWN_BYTES, follow_links)
    except SourceError as error:
        raise SourceError(f"{where}: expected the image's bytes, or its file below {root}; {error}") from error


def check_size(data: bytes, num_bytes: int, name: str) -> bytes:
    """`data` itself when it has the size its index row gives (-1: not known).

    Raises:
        SourceError: another size.
    """
    if num_bytes not in (-1, len(data)):
        raise SourceError(
            f"{name}: expected {num_bytes} bytes; received {len(data)}: it changed since the scan; scan again"
        )
    return data


def hub_snapshot(folder: str) -> str:
    """The snapshot of a data set in Hugging Face's cache ("datasets--user--pets"), or the folder itself.

    Of several snapshots, which hold the same files, it is the one that `refs/main` names.

    Raises:
        SourceError: there are several, and none is named.
    """
    snapshots = Path(folder, "snapshots")
    if not (Path(folder, "refs").is_dir() and Path(folder, "blobs").is_dir() and snapshots.is_dir()):
        return folder
    found = sorted(entry.name for entry in snapshots.iterdir() if entry.is_dir())
    main = Path(folder, "refs", "main")
    named = main.read_text(errors="replace").strip() if main.is_file() else ""
    if len(found) < 2 or named in found:
        return str(snapshots / (named if named in found else found[0])) if found else folder
    raise SourceError(
        f"{folder}: expected one snapshot of a data set; received {len(found)} ({', '.join(found[:3])}), none of them "
        f"named by refs/main; give one, such as {snapshots / found[0]}"
    )
