"""A folder on a local disk with copies of what lies elsewhere: of a bounded size, shared by processes, safe to kill."""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stores.backends.fileio import make_folder, write_all

# Only files of such names are ever removed, and only in this folder.
FOLDER = "fae-shards"
_NAME = re.compile(r"[0-9a-z][0-9a-z_.-]*")
# A file that is being fetched; whoever fetches it holds its lock, so that an unlocked one was left by a killed process.
_PART = ".part"
_LOCK = ".lock"
# With room for fewer files than this, one is fetched after the other: what is being fetched cannot give way.
_ROOM = 8


@dataclass(frozen=True)
class DiskCache:
    """Copies in `folder/fae-shards/`, of at most `max_bytes` together; the least recently used ones give way.

    A copy appears whole or not at all. Of several threads and processes that want the same one, one fetches it.
    """

    folder: Path
    max_bytes: int

    def holds(self, name: str, num_bytes: int) -> bool:
        """Whether a copy of this size is there."""
        try:
            return self._path(name).stat().st_size == num_bytes
        except FileNotFoundError:
            return False

    @contextmanager
    def opened(self, name: str, num_bytes: int, fetch: Callable[[], bytes]) -> Iterator[int]:
        """A descriptor of the copy, to read from; `fetch()` gives its bytes where it is not there.

        Raises:
            ValueError: a name with other characters than file names have, or a copy larger than the bound.
        """
        if num_bytes > self.max_bytes:
            raise ValueError(
                f"{self.folder}: expected room for {num_bytes} bytes; received {self.max_bytes}; allow more"
            )
        path = self._path(name)
        descriptor = _open_copy(path, num_bytes)
        if descriptor is None:
            descriptor = self._fetch(path, num_bytes, fetch)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name) or name.endswith(_PART):
            raise ValueError(f"cache: expected a plain file name; received {name!r}")
        return self.folder / FOLDER / name

    def _fetch(self, path: Path, num_bytes: int, fetch: Callable[[], bytes]) -> int:
        make_folder(path.parent)
        part = path.with_name(path.name + _PART)
        descriptor = _lock_part(part)
        try:
            copy = _open_copy(path, num_bytes)  # another process may just have fetched it
            if copy is not None:
                part.unlink()
                os.close(descriptor)
                return copy
            with self._room_for(num_bytes, descriptor):
                write_all(descriptor, [fetch()])
                os.fsync(descriptor)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return descriptor

    @contextmanager
    def _room_for(self, num_bytes: int, descriptor: int) -> Iterator[None]:
        """Remove what was not used for longest, and give the file its size at once, so that others count it."""
        with _locked(self.folder / FOLDER / _LOCK) as unlock:
            self._make_room(num_bytes)
            os.ftruncate(descriptor, num_bytes)
            if self.max_bytes >= _ROOM * num_bytes:
                unlock()
            yield

    def _make_room(self, num_bytes: int) -> None:
        copies, total = [], num_bytes
        for entry in os.scandir(self.folder / FOLDER):
            if entry.name.endswith(_PART):
                total += _part_bytes(entry.path)
            elif _NAME.fullmatch(entry.name):
                status = entry.stat(follow_symlinks=False)
                copies.append((status.st_mtime_ns, status.st_size, entry.path))
                total += status.st_size
        for _, size, path in sorted(copies):
            if total <= self.max_bytes:
                break
            Path(path).unlink(missing_ok=True)
            total -= size


def _open_copy(path: Path, num_bytes: int) -> int | None:
    """A descriptor of a whole copy, which counts as used now; a file of another size is removed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if os.fstat(descriptor).st_size != num_bytes:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        return None
    with suppress(PermissionError):  # a copy of another user's is not moved up
        os.utime(descriptor)
    return descriptor


def _lock_part(part: Path) -> int:
    """A locked descriptor of the file at `part`, once whoever fetches it has ended."""
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(part, descriptor):
            return descriptor
        os.close(descriptor)  # It was renamed or removed while this process waited.


def _part_bytes(path: str) -> int:
    """Bytes of a file that is being fetched; one that nobody fetches any more is removed."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.fstat(descriptor).st_size
    else:
        if _is_at(Path(path), descriptor):
            os.unlink(path)
        return 0
    finally:
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[Callable[[], None]]:
    """A lock between threads and processes; the function gives it back early."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
