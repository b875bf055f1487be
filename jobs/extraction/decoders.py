"""Threads that decode images; one that hangs in an image is given up and replaced, and the image is rejected."""

import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

LOOK_SECONDS = 1.0  # how often those who wait look for a decoder that hangs


class DecodeTimeout(TimeoutError):
    """An image that took longer to decode than it may."""


@dataclass(eq=False)
class Decoding:
    """An image on its way."""

    read: Callable[[], bytes]
    decode: Callable[[bytes], None]
    done: Future[None] = field(default_factory=Future)
    began: float | None = None
    given_up: bool = False


Work = queue.SimpleQueue[Decoding | None]


class Decoders:
    """`threads` daemon threads that decode; one that exceeds the deadline is abandoned, since it cannot be stopped.

    Reading the bytes does not count: a slow disk is no fault of the image's. What an abandoned thread writes later
    goes into the buffer of a rejected image.
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
        """Read an image and decode it as soon as a thread is free."""
        image = Decoding(read, decode)
        self._work.put(image)
        return image

    def wait(self, image: Decoding) -> None:
        """Return when the image is decoded; what `read` and `decode` raise is raised here.

        Raises:
            DecodeTimeout: it took longer than the deadline.
        """
        while True:
            try:
                return image.done.result(timeout=min(LOOK_SECONDS, self.deadline_seconds))
            except TimeoutError:
                if image.done.done():
                    raise
            # Any of them, not this one alone, which may wait for a thread behind those that hang.
            self._relieve()
            if image.given_up:
                raise DecodeTimeout(f"cannot be decoded: not done after {self.deadline_seconds:g} seconds")

    def _relieve(self) -> None:
        latest = time.monotonic() - self.deadline_seconds
        with self._lock:
            for image in self._running:
                if not image.given_up and image.began is not None and image.began <= latest:
                    image.given_up = True
                    self._add_thread()

    def _add_thread(self) -> None:
        # Daemons: one that hangs for ever must not keep the process from ending.
        target = (self._work, self._running, self._lock)
        threading.Thread(target=_decode_all, args=target, name="decode", daemon=True).start()


def _decode_all(work: Work, running: set[Decoding], lock: threading.Lock) -> None:
    """The loop of a thread; it holds no reference to the `Decoders`, so that it ends when these are collected."""
    while (image := work.get()) is not None:
        try:
            data = image.read()
            with lock:
                image.began = time.monotonic()
                running.add(image)
            image.decode(data)
            image.done.set_result(None)
        except BaseException as error:
            image.done.set_exception(error)
        with lock:
            running.discard(image)
            if image.given_up:
                return  # another thread took this one's place
        del image  # its room in a shard must not wait for the next one
    work.put(None)
