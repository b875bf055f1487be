"""Files that survive a crash: written beside their place, flushed to disk, then renamed into it."""

import fcntl
import glob
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_SUFFIX = ".tmp"
# Linux takes at most 1024 (IOV_MAX).
_BUFFERS_PER_CALL = 1024
_BYTES_PER_CALL = 8 << 20


def _process_umask() -> int:
    mask = os.umask(0o077)  # there is no other way to read it
    os.umask(mask)
    return mask


_UMASK = _process_umask()


def fsync_directory(folder: Path) -> None:
    """Make the folder's renames and removals durable; a rename alone may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def share_file(path: Path) -> None:
    """Give a file the permissions of a newly created one; writers of others, safetensors' say, make theirs private."""
    path.chmod(0o666 & ~_UMASK)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(
    path: Path, data: Any, before_visible: Callable[[], object] | None = None, swept: bool = False
) -> None:
    """Write `data` (a buffer, or several to be joined) to `path`: readers see the old file or the new, never a part.

    `before_visible` is called, and `swept` understood, as `new_version` does.
    """
    with new_version(path, before_visible, swept) as file:
        write_all(file.fileno(), [data] if is_buffer(data) else data)


@contextmanager
def new_version(
    path: Path, before_visible: Callable[[], object] | None = None, swept: bool = False
) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the context ends well; else the old one stays.

    Temporary sibling, fsync, rename, fsync of the folder. `before_visible` is called between fsync and rename. The
    temporary is removed when anything fails, and what killed processes left of the same file before it is written,
    unless somebody else sweeps the folder (`swept`), which may be large.
    """
    if not swept:
        remove_abandoned(path)
    temporary, file = _new_file(path)
    try:
        with file:  # which holds the lock until the file has its name
            yield file
            file.flush()
            os.fsync(file.fileno())
            if before_visible is not None:
                before_visible()
            os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say which
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def _new_file(path: Path) -> tuple[Path, BinaryIO]:
    """A new temporary beside `path`, locked; another one where a sweep took it before it was."""
    while True:
        temporary = temporary_beside(path)
        file = open(temporary, "xb")  # noqa: SIM115 - whoever writes it closes it
        with suppress(OSError):  # a file system without locks, on which nobody sweeps either
            fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, file
        file.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an unfinished file or folder, so that others tell it from one whose process was killed.

    Raises:
        OSError: a process that is alive holds it (BlockingIOError), it is gone, or the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY if path.is_dir() else os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)  # gives the lock back


def remove_abandoned(path: Path) -> None:
    """Remove what processes that were killed left unfinished of this file or folder: what nobody holds a lock on."""
    for found in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if is_temporary(found.name) and not found.is_symlink():
            with suppress(OSError), locked(found):
                shutil.rmtree(found) if found.is_dir() else found.unlink()


def is_buffer(data: Any) -> bool:
    """Whether this is one buffer rather than several."""
    try:
        memoryview(data).release()
    except TypeError:
        return False
    return True


def temporary_beside(path: Path) -> Path:
    """A name for an unfinished version of a file, which `sweep` and `gc` know."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")


def link_or_copy(source: str, target: str) -> None:
    """Give a file that nobody writes to again a second name, or a copy where the file system has one name a file."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


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


def write_all(descriptor: int, parts: Iterable[Any]) -> None:
    """Write buffers one after another, many to a system call, and keep the disk busy meanwhile."""
    written = 0
    for group in _groups(parts):
        start = written
        while group:
            count = os.writev(descriptor, group)
            written, group = written + count, _without_first(group, count)
        # Starts to write these pages back now rather than at fsync; they stay cached, being dirty.
        os.posix_fadvise(descriptor, start, written - start, os.POSIX_FADV_DONTNEED)


def _groups(parts: Iterable[Any]) -> Iterator[list[memoryview]]:
    """Buffers in groups of about 8 MiB, and never more than one system call takes."""
    group: list[memoryview] = []
    num_bytes = 0
    for part in parts:
        view = memoryview(part).cast("B")
        group.append(view)
        num_bytes += len(view)
        if num_bytes >= _BYTES_PER_CALL or len(group) == _BUFFERS_PER_CALL:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group


def _without_first(views: list[memoryview], count: int) -> list[memoryview]:
    """The buffers that are left after `count` bytes were written: one call moves at most 2 GiB."""
    for position, view in enumerate(views):
        if count < len(view):
            return [view[count:], *views[position + 1 :]]
        count -= len(view)
    return []
