"""One writer per store: a lease file with a heartbeat, taken over when its owner has died."""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from stores.backends import ByteStore
from stores.format import LEASE, HeldElsewhereError, LeaseHeldError

LOG = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
# How long another host's lease is watched for a sign of life. A network file system may show a file of half a minute
# ago; whoever says that the holder is dead waits for two beats alone.
WATCHED_BEATS, WATCHED_BEATS_OF_THE_DEAD = 6.0, 2.4
COUNTS = 4


class Lease:
    """Held between `with lease:` and its end; others that ask meanwhile get LeaseHeldError.

    A lease is taken over when its process has ended or its last heartbeat is `stale_seconds` ago. On one machine a
    clock tells this that nobody sets; a lease of another machine that looks stale is watched for a while, and kept when
    its heartbeat goes on. So no clock that jumps loses a lease.

    Args:
        blobs: Where `lease.json` lies.
        heartbeat_seconds: How often this lease is renewed.
        stale_seconds: Silence after which a lease is no longer respected.
        on_enter: Called once the lease is held; what it raises gives the lease back.
        take_over: The holder is said to be dead: a lease of another host is not waited for until it is stale, but
            watched for 2.4 heartbeats and taken when there is none. One of a living process of this host is respected.
    """

    def __init__(
        self,
        blobs: ByteStore,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        stale_seconds: float = STALE_SECONDS,
        on_enter: Callable[[], object] | None = None,
        take_over: bool = False,
    ) -> None:
        self.blobs, self.on_enter, self.take_over = blobs, on_enter, take_over
        self.heartbeat_seconds, self.stale_seconds = heartbeat_seconds, stale_seconds
        self._owner = {"id": uuid.uuid4().hex, **this_process()}
        self._written: bytes | None = None
        self._stop = threading.Event()
        self._lost = threading.Event()

    def __enter__(self) -> "Lease":
        found = _read(self.blobs)
        if found is not None:
            self._wait_for_its_end(found)
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
        self._written = None

    @property
    def is_entered(self) -> bool:
        """Whether this object is between `with` and its end."""
        return self._written is not None

    def check(self) -> None:
        """Read the lease file and confirm that it is still this one's; call it before a write that must not be late.

        A process that was paused (SIGSTOP, a laptop's sleep, a frozen virtual machine) may have lost its lease without
        its heartbeat having noticed yet.

        Raises:
            LeaseHeldError: the lease was taken over or removed, or it was never taken.
        """
        found = _read(self.blobs)
        if self._lost.is_set() or found is None or _parse(found).get("id") != self._owner["id"]:
            self._lost.set()
            raise LeaseHeldError(
                f"{self.blobs.url}/{LEASE}: expected the lease of this process; it was taken over by another; "
                "what was done is kept: run this again"
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
        beat = {"heartbeat_unix_seconds": time.time(), "heartbeat_boot_seconds": _boot_seconds()}
        return json.dumps({**self._owner, **beat}).encode()

    def _is_stale(self, found: bytes) -> bool:
        owner = _parse(found)
        if not is_alive(owner, self.stale_seconds):
            return True
        # A heartbeat far ahead of this clock says nothing.
        return not _is_here(owner) and owner["heartbeat_unix_seconds"] - time.time() > self.stale_seconds

    def _wait_for_its_end(self, found: bytes) -> None:
        """Return once the holder of a lease that was found shows no sign of life.

        Raises:
            LeaseHeldError: it does.
        """
        owner = _parse(found)
        if _is_here(owner):
            if not self._is_stale(found):
                raise LeaseHeldError(f"{self._held_message(owner)}, or stop it (kill {owner.get('process')})")
            return
        if not self.take_over and not self._is_stale(found):
            left = self.stale_seconds - _seconds_since_beat(owner)
            raise HeldElsewhereError(
                f"{self._held_message(owner)}, or stop it; without another heartbeat the lease expires in {left:.0f} s"
            )
        if self._goes_on(found):
            raise LeaseHeldError(f"{self._held_message(owner)}, or stop it; its heartbeat goes on")

    def _goes_on(self, found: bytes) -> bool:
        """Whether the heartbeat of another machine's lease changes; its clock, or this one, may just be wrong."""
        owner = _parse(found)
        beats = WATCHED_BEATS_OF_THE_DEAD if self.take_over else WATCHED_BEATS
        seconds = beats * self.heartbeat_seconds
        for count in range(COUNTS):
            LOG.warning(
                "%s: process %s on %s wrote here, last heartbeat %.0f s ago; this goes on in %.0f s unless it beats",
                *(self.blobs.url, owner.get("process"), owner.get("host"), max(0.0, _seconds_since_beat(owner))),
                seconds * (COUNTS - count) / COUNTS,
            )
            end = time.monotonic() + seconds / COUNTS
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, self.heartbeat_seconds / 4))
                if _read(self.blobs) != found:
                    return True
        return False

    def _held_message(self, owner: Mapping[str, Any]) -> str:
        beat = max(0.0, _seconds_since_beat(owner))
        return (
            f"{self.blobs.url}: process {owner.get('process')} on {owner.get('host')} is writing here; "
            f"wait for it (last heartbeat {beat:.0f} s ago)"
        )


def this_process() -> dict[str, Any]:
    """Who this is: host, boot (of a machine that was started again process numbers mean nothing), process, its start.

    The start, in clock ticks since the boot, tells a process from a later one that was given the same number.
    """
    return {**_machine(), "process": os.getpid(), "started_ticks": _process_facts(os.getpid())[1]}


def is_alive(owner: Mapping[str, Any], stale_seconds: float = STALE_SECONDS) -> bool:
    """Whether the process with these facts of `this_process()` and `heartbeat_unix_seconds` shows signs of life.

    Of a process of this machine the wall clock is not asked.
    """
    if _is_here(owner):
        beat = owner.get("heartbeat_boot_seconds")
        on_time = beat is None or _boot_seconds() - beat <= stale_seconds
        return on_time and _is_running(owner.get("process"), owner.get("started_ticks"))
    return _seconds_since_beat(owner) <= stale_seconds


def _seconds_since_beat(owner: Mapping[str, Any]) -> float:
    """By the clocks that people set; of a process of this machine by the one that nobody does."""
    name, now = (
        ("heartbeat_boot_seconds", _boot_seconds()) if _is_here(owner) else ("heartbeat_unix_seconds", time.time())
    )
    beat = owner.get(name)
    return now - beat if isinstance(beat, int | float) else float("inf")


def _boot_seconds() -> float:
    """A clock that all processes of this machine share and nobody sets; it counts sleep, too, where that can be had."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _machine() -> dict[str, Any]:
    """What processes share that see each other by their numbers: two containers of one host may have its name, both."""
    return {"host": socket.gethostname(), "boot": _boot_id(), "process_space": _process_space()}


def _process_space() -> str:
    """The namespace of process numbers, of Linux."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _is_here(owner: Mapping[str, Any]) -> bool:
    return all(owner.get(name) == value for name, value in _machine().items())


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


def _is_running(process: Any, started_ticks: Any) -> bool:
    if not isinstance(process, int) or process < 1:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    state, ticks = _process_facts(process)
    return state not in ("Z", "X") and (None in (started_ticks, ticks) or started_ticks == ticks)


def _process_facts(process: int) -> tuple[str, int | None]:
    """State and start of a process: fields 3 and 22 of /proc/PID/stat (proc(5)); "" and None where unknown."""
    try:
        # The name before them may hold blanks and brackets.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return "", None


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""
