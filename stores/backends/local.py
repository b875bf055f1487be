"""Blobs as files of a local folder."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stores.backends.bytestore import ByteStore, check_key
from stores.backends.fileio import fsync_directory, is_temporary, make_folder, replace_file, temporary_beside

NOT_REGULAR = "expected a regular file; received something else"


class NotAFileError(FileNotFoundError):
    """Something lies where a blob belongs that is no regular file: a link, a folder, a pipe, a device."""


class LocalByteStore(ByteStore):
    """A folder; the folder itself is created by the first write."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self.url = str(self.root)

    def local_path(self, key: str = "") -> Path:
        """The file of a blob, or the folder itself."""
        return self._path(key) if key else self.root

    def read(self, key: str) -> bytes:
        """The whole file."""
        with os.fdopen(self._open(key), "rb") as file:
            return file.read()

    def read_at_most(self, key: str, most: int) -> bytes:
        """The file, or its first bytes."""
        with os.fdopen(self._open(key), "rb") as file:
            return file.read(min(os.fstat(file.fileno()).st_size, most + 1))

    def read_into(self, key: str, start: int, buffer: memoryview) -> None:
        """Fill the buffer by positioned reads, without readahead."""
        path, descriptor = self._path(key), self._open(key)
        try:
            # What is needed is read as asked; readahead would fetch bytes that nobody wants.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            read_exactly(descriptor, start, buffer, path)
        finally:
            os.close(descriptor)

    def size(self, key: str) -> int:
        """The file's size in bytes."""
        path = self._path(key)
        status = path.lstat()
        _require_regular(path, status)
        return status.st_size

    def write(self, key: str, data: Any, before_visible: Callable[[], object] | None = None) -> None:
        """Temporary sibling, fsync, rename, fsync of the folder."""
        path = self._path(key)
        make_folder(path.parent)
        replace_file(path, data, before_visible, swept=True)

    def copy_from(self, other: ByteStore, key: str, to: str | None = None) -> None:
        """A hard link where the disk can make one, else a copy."""
        source = other.local_path(key)
        if source is None or not self._link(source, to or key):
            super().copy_from(other, key, to)

    def _link(self, source: Path, key: str) -> bool:
        """A second name for the same bytes, which nobody changes in place; False where the disk cannot do that."""
        path = self._path(key)
        make_folder(path.parent)
        temporary = temporary_beside(path)
        try:
            os.link(source, temporary)
            os.replace(temporary, path)
        except FileNotFoundError:
            raise
        except OSError:
            return False
        finally:
            # Renaming onto another name of the same file does nothing.
            temporary.unlink(missing_ok=True)
        fsync_directory(path.parent)
        return True

    def delete(self, key: str) -> None:
        """Remove the file and flush its folder."""
        path = self._path(key)
        try:
            path.unlink()
        except FileNotFoundError:
            return
        fsync_directory(path.parent)

    def discard(self, key: str) -> None:
        """Unlink a file, link, pipe or device; a folder is renamed to a temporary name, which `gc` knows."""
        parts = key.split("/")
        path = self.root.joinpath(*parts)
        if key.startswith("/") or ".." in parts or self._has_link_above(path):
            raise ValueError(f"key {key!r}: expected a name below the store; received another")
        if path.is_dir() and not path.is_symlink():
            path.rename(temporary_beside(path))
        else:
            path.unlink(missing_ok=True)
        fsync_directory(path.parent)

    def clear_place(self, key: str) -> None:
        """Discard what is no regular file."""
        path = self._path(key)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            self.discard(key)

    def unexpected_keys(self) -> list[str]:
        """Links, pipes, sockets and devices below the root."""
        found = (path for path in self.root.rglob("*") if path.is_symlink() or not (path.is_dir() or path.is_file()))
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The relative paths of all files that are not temporary."""
        found = (path.relative_to(self.root).as_posix() for path in self._files())
        return iter(sorted(key for key in found if key.startswith(prefix)))

    def folders(self) -> list[str]:
        """The names of the folders directly below the root."""
        found = self.root.iterdir() if self.root.is_dir() else []
        return sorted(path.name for path in found if path.is_dir())

    def swap(self, key: str, expected: bytes | None, new: bytes | None) -> bool:
        """Compare and replace under a lock that all processes of this machine share."""
        with self._swap_lock():
            found = self.read(key) if self.exists(key) else None
            if found != expected:
                return found == new
            self.delete(key) if new is None else self.write(key, new)
            return True

    def orphans(self) -> list[str]:
        """The temporary files of interrupted writes."""
        found = [path for path in self.root.rglob(".*") if path.is_file() and is_temporary(path.name)]
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def sweep(self) -> list[str]:
        """Remove the temporary files of interrupted writes."""
        found = self.orphans()
        for name in found:
            (self.root / name).unlink(missing_ok=True)
        return found

    def _path(self, key: str) -> Path:
        path = self.root / check_key(key)
        if self._has_link_above(path):
            raise NotAFileError(errno.ENOENT, "expected a folder inside the store; received a link", str(path.parent))
        return path

    def _has_link_above(self, path: Path) -> bool:
        """Whether a folder between the root and the file is a link; the root itself, and what is above it, may be."""
        depth = len(path.parts) - len(self.root.parts) - 1
        return any(parent.is_symlink() for parent in path.parents[:depth])

    def _open(self, key: str) -> int:
        """A descriptor of a regular file; no link is followed and no pipe waited for."""
        path = self._path(key)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise NotAFileError(errno.ENOENT, NOT_REGULAR, str(path)) from error
            raise
        try:
            _require_regular(path, os.fstat(descriptor))
        except NotAFileError:
            os.close(descriptor)
            raise
        return descriptor

    def _files(self) -> Iterator[Path]:
        found = (path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink())
        return (path for path in found if not is_temporary(path.name))

    @contextmanager
    def _swap_lock(self) -> Iterator[None]:
        """One swap at a time among the processes of this machine; the kernel frees the lock of a killed one."""
        make_folder(self.root)
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(errno.ENOENT, NOT_REGULAR, str(path))


def read_exactly(descriptor: int, start: int, buffer: memoryview, path: Path) -> None:
    """Fill the buffer from an open file, as many calls as it takes."""
    view, position = memoryview(buffer).cast("B"), start
    while view:
        count = os.preadv(descriptor, [view], position)
        if count == 0:
            raise OSError(f"{path}: expected {len(view)} more bytes at {position}; the file ends there")
        view, position = view[count:], position + count
