"""Threads that decode pictures; one that hangs in a picture is given up and replaced, and the picture is rejected."""

import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

LOOK_SECONDS = 1.0  # how often those who wait look for a decoder that hangs


@dataclass(eq=False)
class Decoding:
    """A picture on its way."""

    read: Callable[[], bytes]
    decode: Callable[[bytes], None]
    done: Future[None] = field(default_factory=Future)
    began: float | None = None
    given_up: bool = False


Work = queue.SimpleQueue[Decoding | None]


class Decoders:
    """`threads` daemon threads; a decoder cannot be stopped, so one that passes the deadline is left to itself.

    Reading the bytes does not count: a slow disk is no fault of the picture's. What a decoder given up writes later
    goes into the room of a rejected picture.
    """

    def __init__(self, threads: int, deadline_seconds: float) -> None:
        self.deadline_seconds = deadline_seconds
        self._work: Work = queue.SimpleQueue()
        weakref.finalize(self, self._work.put, None)
        self._running: set[Decoding] = set()
        self._lock = threading.Lock()
        for _ in range(threads):
            self._add_thread()

    def submit(self, read: Callable[[], bytes], decode: Callable[[bytes], None]) -> Decoding:
        """Read a picture and decode it as soon as a thread is free."""
        picture = Decoding(read, decode)
        self._work.put(picture)
        return picture

    def wait(self, picture: Decoding) -> None:
        """Return when the picture is decoded; what `read` and `decode` raise is raised here.

        Raises:
            TimeoutError: it took longer than the deadline.
        """
        while True:
            try:
                return picture.done.result(timeout=min(LOOK_SECONDS, self.deadline_seconds))
            except TimeoutError:
                if picture.done.done():
                    raise
            # Any of them, not this one alone, which may wait for a thread behind those that hang.
            self._relieve()
            if picture.given_up:
                raise TimeoutError(f"cannot be decoded: not done after {self.deadline_seconds:g} seconds")

    def _relieve(self) -> None:
        latest = time.monotonic() - self.deadline_seconds
        with self._lock:
            for picture in self._running:
                if not picture.given_up and picture.began is not None and picture.began <= latest:
                    picture.given_up = True
                    self._add_thread()

    def _add_thread(self) -> None:
        # Daemons: one that hangs for ever must not keep the process from ending.
        target = (self._work, self._running, self._lock)
        threading.Thread(target=_decode_all, args=target, name="decode", daemon=True).start()


def _decode_all(work: Work, running: set[Decoding], lock: threading.Lock) -> None:
    """What a thread does; it knows not the decoders themselves, so that they can be forgotten and it ends."""
    while (picture := work.get()) is not None:
        try:
            data = picture.read()
            with lock:
                picture.began = time.monotonic()
                running.add(picture)
            picture.decode(data)
            picture.done.set_result(None)
        except BaseException as error:
            picture.done.set_exception(error)
        with lock:
            running.discard(picture)
            if picture.given_up:
                return  # another thread took this one's place
        del picture  # its room in a shard must not wait for the next one
    work.put(None)
