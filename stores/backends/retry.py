"""Tries again what a network or a busy server made fail."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from stores.backends.bytestore import ByteStore

Result = TypeVar("Result")
# What another attempt cannot change.
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class RetryingByteStore(ByteStore):
    """Every operation of `inner`, up to `attempts` times, waiting twice as long (plus a random part) before each."""

    def __init__(self, inner: ByteStore, attempts: int = 4, first_wait_seconds: float = 0.5) -> None:
        self.inner, self.attempts, self.first_wait_seconds = inner, attempts, first_wait_seconds
        self.url = inner.url

    def local_path(self, key: str = "") -> Path | None:
        return self.inner.local_path(key)

    def read(self, key: str) -> bytes:
        return self._try(lambda: self.inner.read(key))

    def read_into(self, key: str, start: int, buffer: memoryview) -> None:
        self._try(lambda: self.inner.read_into(key, start, buffer))

    def size(self, key: str) -> int:
        return self._try(lambda: self.inner.size(key))

    def write(self, key: str, data: Any, before_visible: Callable[[], object] | None = None) -> None:
        self._try(lambda: self.inner.write(key, data, before_visible))

    def delete(self, key: str) -> None:
        self._try(lambda: self.inner.delete(key))

    def keys(self, prefix: str = "") -> Iterator[str]:
        return iter(self._try(lambda: list(self.inner.keys(prefix))))

    def num_bytes(self, prefix: str = "") -> int:
        return self._try(lambda: self.inner.num_bytes(prefix))

    def folders(self) -> list[str]:
        return self._try(self.inner.folders)

    def swap(self, key: str, expected: bytes | None, new: bytes | None) -> bool:
        # Backends count "it already is `new`" as success, so an attempt whose answer got lost may be repeated.
        return self._try(lambda: self.inner.swap(key, expected, new))

    def orphans(self) -> list[str]:
        return self._try(self.inner.orphans)

    def sweep(self) -> list[str]:
        return self._try(self.inner.sweep)

    def _try(self, operation: Callable[[], Result]) -> Result:
        for attempt in range(self.attempts):
            try:
                return operation()
            except _FINAL:
                raise
            except OSError:
                if attempt == self.attempts - 1:
                    raise
                time.sleep(self.first_wait_seconds * 2**attempt * random.uniform(1, 1.5))
        raise AssertionError("at least one attempt")
