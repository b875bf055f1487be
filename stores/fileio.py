"""Files that survive a crash: written beside their place, flushed to disk, then renamed into it."""

import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".tmp"
# Linux takes at most 1024 (IOV_MAX).
_BUFFERS_PER_CALL = 1024


def fsync_directory(folder: Path) -> None:
    """Make the folder's renames and removals durable; a rename alone may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: Any, before_visible: Callable[[], object] | None = None) -> None:
    """Write `data` (a buffer, or a list to be joined) to `path`: readers see the old file or the new, never a part.

    Temporary sibling, fsync, rename, fsync of the folder. `before_visible` is called between fsync and rename. The
    temporary is removed when anything fails.
    """
    temporary = temporary_beside(path)
    try:
        with open(temporary, "xb", buffering=0) as file:
            _write_all(file.fileno(), data if isinstance(data, list | tuple) else [data])
            os.fsync(file.fileno())
        if before_visible is not None:
            before_visible()
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def temporary_beside(path: Path) -> Path:
    """A name for an unfinished version of a file, which `sweep` and `gc` know."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")


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


def _write_all(descriptor: int, parts: Sequence[Any]) -> None:
    """Write buffers one after another, many to a system call."""
    views = [memoryview(part).cast("B") for part in parts]
    for start in range(0, len(views), _BUFFERS_PER_CALL):
        pending = views[start : start + _BUFFERS_PER_CALL]
        while pending:
            pending = _without_first(pending, os.writev(descriptor, pending))


def _without_first(views: list[memoryview], count: int) -> list[memoryview]:
    """The buffers that are left after `count` bytes were written: one call moves at most 2 GiB."""
    for position, view in enumerate(views):
        if count < len(view):
            return [view[count:], *views[position + 1 :]]
        count -= len(view)
    return []
