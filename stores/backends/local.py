"""Blobs as files of a local folder."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stores.backends.bytestore import ByteStore, check_key
from stores.backends.fileio import fsync_directory, is_temporary, make_folder, replace_file, temporary_beside


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
        return self._path(key).read_bytes()

    def read_into(self, key: str, start: int, buffer: memoryview) -> None:
        """Fill the buffer by positioned reads, without readahead."""
        path = self._path(key)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # What is needed is read as asked; readahead would fetch bytes that nobody wants.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            read_exactly(descriptor, start, buffer, path)
        finally:
            os.close(descriptor)

    def size(self, key: str) -> int:
        """The file's size in bytes."""
        return self._path(key).stat().st_size

    def write(self, key: str, data: Any, before_visible: Callable[[], object] | None = None) -> None:
        """Temporary sibling, fsync, rename, fsync of the folder."""
        path = self._path(key)
        make_folder(path.parent)
        replace_file(path, data, before_visible)

    def copy_from(self, other: ByteStore, key: str) -> None:
        """A hard link where the disk can make one, else a copy."""
        source = other.local_path(key)
        if source is None or not self._link(source, key):
            super().copy_from(other, key)

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
        return self.root / check_key(key)

    def _files(self) -> Iterator[Path]:
        return (path for path in self.root.rglob("*") if path.is_file() and not is_temporary(path.name))

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


def read_exactly(descriptor: int, start: int, buffer: memoryview, path: Path) -> None:
    """Fill the buffer from an open file, as many calls as it takes."""
    view, position = memoryview(buffer).cast("B"), start
    while view:
        count = os.preadv(descriptor, [view], position)
        if count == 0:
            raise OSError(f"{path}: expected {len(view)} more bytes at {position}; the file ends there")
        view, position = view[count:], position + count
