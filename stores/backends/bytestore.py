"""The contract between a store and the place its bytes live: named, whole, durable blobs."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

_KEY = re.compile(r"[A-Za-z0-9_.\-]+(/[A-Za-z0-9_.\-]+)*")


def check_key(key: str) -> str:
    """The key itself, when it names a blob inside the store.

    Raises:
        ValueError: the key is absolute, holds "..", or holds characters that some backend would read differently.
    """
    if not is_key(key):
        raise ValueError(
            f"key {key!r}: expected parts of letters, digits, '_', '-' and '.' joined by '/', none of them '.' or '..'"
        )
    return key


def is_key(name: str) -> bool:
    """Whether a name is one that `check_key` takes."""
    return _KEY.fullmatch(name) is not None and not {".", ".."} & set(name.split("/"))


class ByteStore(ABC):
    """Blobs under one root, named by relative keys such as `commits/3.json`.

    Every implementation keeps these promises (`stores.testing.bytestore.ByteStoreContract` checks them):
    a written blob appears whole or not at all, and is durable when `write` returns; a missing blob raises
    FileNotFoundError that names it; a short read raises OSError; keys that leave the root raise ValueError.
    Objects may be pickled to workers and used by several threads at once.
    """

    url: str

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The whole blob."""

    def read_at_most(self, key: str, most: int) -> bytes:
        """The whole blob, or its first `most` + 1 bytes where it is larger, so that damage takes no more memory."""
        buffer = bytearray(min(self.size(key), most + 1))
        self.read_into(key, 0, memoryview(buffer))
        return bytes(buffer)

    @abstractmethod
    def read_into(self, key: str, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start` on; OSError when the blob ends before it is full."""

    def prepare(self, keys: Iterable[str]) -> None:
        """Called before these blobs are read; backends that keep copies fetch them now."""
        return

    @abstractmethod
    def size(self, key: str) -> int:
        """The blob's size in bytes."""

    @abstractmethod
    def write(self, key: str, data: Any, before_visible: Callable[[], object] | None = None) -> None:
        """Create or replace the blob by `data`: a buffer, or an iterable of buffers to be joined.

        `before_visible` is called before the blob appears, as late as the backend allows; when it raises, nothing
        appears.
        """

    def copy_from(self, other: "ByteStore", key: str, to: str | None = None) -> None:
        """Make the blob `key` of another byte store this one's too, as `to` or under the same key.

        Whole and durable as `write` makes it.
        """
        self.write(to or key, other.read(key))

    def write_file(self, key: str, file: Path) -> None:
        """Write a blob of a file's bytes."""
        self.write(key, file.read_bytes())

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the blob; removing a missing one is no error."""

    def discard(self, key: str) -> None:
        """Remove what lies at a key that `keys` or `unexpected_keys` named, also one that `check_key` would refuse."""
        self.delete(key)

    def clear_place(self, key: str) -> None:
        """Make room for a blob where something else than a blob lies; blobs stay."""
        return

    def unexpected_keys(self) -> list[str]:
        """Names of what is no blob and no folder: links, pipes, devices."""
        return []

    @abstractmethod
    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, sorted, unfinished writes left out."""

    def num_bytes(self, prefix: str = "") -> int:
        """Bytes of all blobs whose keys begin with the prefix."""
        return sum(self.size(key) for key in list(self.keys(prefix)))

    @abstractmethod
    def folders(self) -> list[str]:
        """Names of the folders directly below the root, sorted."""

    @abstractmethod
    def swap(self, key: str, expected: bytes | None, new: bytes | None) -> bool:
        """Replace the blob by `new` (None: remove it) when it equals `expected` (None: missing).

        False when it equals neither; True when it already equals `new`, so that a call may be repeated after its answer
        got lost. Of several processes that swap the same expected value for values of their own, exactly one succeeds.
        """

    def orphans(self) -> list[str]:
        """Names of what interrupted writes left behind; backends whose writes are atomic have none."""
        return []

    @abstractmethod
    def sweep(self) -> list[str]:
        """Remove what interrupted writes left behind, and name it."""

    def local_path(self, key: str = "") -> Path | None:
        """The file of a blob when the root is a folder of this machine, else None."""
        return None

    def exists(self, key: str) -> bool:
        """Whether the blob is there."""
        try:
            self.size(key)
        except (FileNotFoundError, NotADirectoryError):  # the latter where the root is a file
            return False
        return True
