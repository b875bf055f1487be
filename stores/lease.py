"""One writer per store: a lease file with a heartbeat, taken over when its owner has died."""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from stores.bytestore import ByteStore
from stores.errors import LeaseHeldError
from stores.layout import LEASE

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0


class Lease:
    """Held between `with lease:` and its end; others that ask meanwhile get LeaseHeldError.

    A lease without a heartbeat for `stale_seconds`, or of a process of this machine that has ended, is taken over.
    """

    def __init__(
        self,
        blobs: ByteStore,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        stale_seconds: float = STALE_SECONDS,
        on_enter: Callable[[], object] | None = None,
    ) -> None:
        self.blobs, self.on_enter = blobs, on_enter
        self.heartbeat_seconds, self.stale_seconds = heartbeat_seconds, stale_seconds
        self._owner = {"id": uuid.uuid4().hex, **this_process()}
        self._written: bytes | None = None
        self._stop = threading.Event()
        self._lost = threading.Event()

    def __enter__(self) -> "Lease":
        found = _read(self.blobs)
        if found is not None and not self._is_stale(found):
            raise LeaseHeldError(self._held_message(found))
        mine = self._record()
        if not self.blobs.swap(LEASE, found, mine):
            raise LeaseHeldError(
                f"{self.blobs.url}/{LEASE}: another process took the lease just now; wait for it and run this again"
            )
        self._written = mine
        self._thread = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)
        self._thread.start()
        try:
            if self.on_enter is not None:
                self.on_enter()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        self._stop.set()
        self._thread.join()
        self.blobs.swap(LEASE, self._written, None)

    def check(self) -> None:
        """Raise LeaseHeldError when the lease was taken over, for example after this machine slept."""
        if self._lost.is_set():
            raise LeaseHeldError(
                f"{self.blobs.url}/{LEASE}: another process took this lease over; what was done is kept, run this again"
            )

    def owner(self) -> dict[str, Any] | None:
        """Who holds the lease: host, process, heartbeat_unix_seconds, and whether it is alive; None: nobody."""
        found = _read(self.blobs)
        return None if found is None else {**_parse(found), "alive": not self._is_stale(found)}

    def is_held(self) -> bool:
        """Whether some process holds the lease and shows signs of life."""
        found = _read(self.blobs)
        return found is not None and not self._is_stale(found)

    def _beat(self) -> None:
        while not self._stop.wait(self.heartbeat_seconds):
            mine = self._record()
            try:
                kept = self.blobs.swap(LEASE, self._written, mine)
            except OSError:
                continue  # A full disk or a network pause: the next beat tries again.
            if not kept:
                self._lost.set()
                return
            self._written = mine

    def _record(self) -> bytes:
        return json.dumps({**self._owner, "heartbeat_unix_seconds": time.time()}).encode()

    def _is_stale(self, found: bytes) -> bool:
        return not is_alive(_parse(found), self.stale_seconds)

    def _held_message(self, found: bytes) -> str:
        owner = _parse(found)
        age = time.time() - owner["heartbeat_unix_seconds"]
        return (
            f"{self.blobs.url}: process {owner.get('process')} on {owner.get('host')} is writing this store "
            f"(heartbeat {age:.0f} seconds ago); wait for it, or stop it and run this again"
        )


def this_process() -> dict[str, Any]:
    """Who this is: host, boot (of a machine that was started again process numbers mean nothing) and process."""
    return {"host": socket.gethostname(), "boot": _boot_id(), "process": os.getpid()}


def is_alive(owner: Mapping[str, Any], stale_seconds: float = STALE_SECONDS) -> bool:
    """Whether the process with these facts of `this_process()` and `heartbeat_unix_seconds` shows signs of life."""
    here = this_process()
    same_machine = owner.get("host") == here["host"] and owner.get("boot") == here["boot"]
    if same_machine and not _is_running(owner.get("process")):
        return False
    beat = owner.get("heartbeat_unix_seconds")
    return isinstance(beat, int | float) and time.time() - beat <= stale_seconds


def _read(blobs: ByteStore) -> bytes | None:
    try:
        return blobs.read(LEASE)
    except FileNotFoundError:
        return None


def _parse(data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _is_running(process: Any) -> bool:
    if not isinstance(process, int) or process < 1:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""
