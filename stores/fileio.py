"""Files that survive a crash: written beside their place, flushed to disk, then renamed into it."""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".tmp"


def fsync_directory(folder: Path) -> None:
    """Make the folder's renames and removals durable; a rename alone may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: Any) -> None:
    """Write `data` (a buffer, or a list to be joined) to `path`: readers see the old file or the new, never a part.

    Temporary sibling, fsync, rename, fsync of the folder. The temporary is removed when anything fails.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        with open(temporary, "xb", buffering=0) as file:
            for part in _parts(data):
                _write_all(file.fileno(), part)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def make_folder(folder: Path) -> None:
    """Create the folder and its parents, each entry flushed to its parent folder."""
    missing = [folder, *folder.parents]
    missing = [part for part in missing if not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for part in missing:
        fsync_directory(part.parent)


def is_temporary(name: str) -> bool:
    """Whether a file name is one of `replace_file`'s unfinished files."""
    return name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)


def _parts(data: Any) -> Iterable[memoryview]:
    parts = data if isinstance(data, list | tuple) else [data]
    return [memoryview(part).cast("B") for part in parts]


def _write_all(descriptor: int, part: memoryview) -> None:
    # One write call moves at most 2 GiB on Linux.
    while part:
        part = part[os.write(descriptor, part) :]
