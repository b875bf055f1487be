"""A byte store that fails on purpose, to prove that what is built on it does not."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stores.backends.bytestore import ByteStore

Fault = Literal["fail", "fail-after", "hang", "truncate", "duplicate"]


@dataclass
class FaultyByteStore(ByteStore):
    """`inner` with a fault at some operations, counted from 0 over all kinds and threads.

    - "fail": OSError, nothing happened. "fail-after": it happened, then OSError: the answer got lost.
    - "hang": waits `hang_seconds`, then goes on. "duplicate": happens twice.
    - "truncate": a read gives half of the bytes (read_into then raises, as a short read does); a write stores half and
      raises, as a backend without atomic writes would.
    """

    inner: ByteStore
    fault_at: Callable[[int], Fault | None]
    hang_seconds: float = 0.05
    operations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self.inner.url
        self._lock = threading.Lock()
        self._local = threading.local()

    def local_path(self, key: str = "") -> Path | None:
        return self.inner.local_path(key)

    def read(self, key: str) -> bytes:
        data = self._run(f"read {key}", lambda: self.inner.read(key))
        return data[: len(data) // 2] if self._last_fault == "truncate" else data

    def read_into(self, key: str, start: int, buffer: memoryview) -> None:
        self._run(f"read_into {key}", lambda: self.inner.read_into(key, start, buffer))
        if self._last_fault == "truncate":
            view = memoryview(buffer).cast("B")
            view[len(view) // 2 :] = bytes(len(view) - len(view) // 2)
            raise OSError(f"{key}: the read ended early (injected)")

    def size(self, key: str) -> int:
        return self._run(f"size {key}", lambda: self.inner.size(key))

    def write(self, key: str, data: Any, before_visible: Callable[[], object] | None = None) -> None:
        self._run(f"write {key}", lambda: self.inner.write(key, data, before_visible))
        if self._last_fault == "truncate":
            stored = self.inner.read(key)
            self.inner.write(key, stored[: len(stored) // 2])
            raise OSError(f"{key}: the write ended early (injected)")

    def delete(self, key: str) -> None:
        self._run(f"delete {key}", lambda: self.inner.delete(key))

    def keys(self, prefix: str = "") -> Iterator[str]:
        return iter(self._run(f"keys {prefix}", lambda: list(self.inner.keys(prefix))))

    def folders(self) -> list[str]:
        return self._run("folders", self.inner.folders)

    def swap(self, key: str, expected: bytes | None, new: bytes | None) -> bool:
        return self._run(f"swap {key}", lambda: self.inner.swap(key, expected, new))

    def orphans(self) -> list[str]:
        return self.inner.orphans()

    def sweep(self) -> list[str]:
        return self._run("sweep", self.inner.sweep)

    @property
    def _last_fault(self) -> Fault | None:
        return getattr(self._local, "fault", None)

    def _run(self, name: str, operation: Callable[[], Any]) -> Any:
        with self._lock:
            fault = self._local.fault = self.fault_at(len(self.operations))
            self.operations.append(f"{name} {fault or ''}".strip())
        if fault == "fail":
            raise OSError(f"{name}: injected failure")
        if fault == "hang":
            time.sleep(self.hang_seconds)
        if fault == "duplicate":
            operation()
        result = operation()
        if fault == "fail-after":
            raise OSError(f"{name}: injected failure after it was done")
        return result
