"""Work done ahead of time by one thread, a few items at most."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """The same items in the same order, up to `depth` of them made before they are asked for; 0 uses no thread.

    An error in the thread is raised where the item would have come. Closing the iterator ends the thread.
    """
    if depth == 0:
        yield from items
        return
    ready: queue.SimpleQueue[tuple[list[Item], BaseException | None]] = queue.SimpleQueue()
    room, stop = threading.Semaphore(depth), threading.Event()
    thread = threading.Thread(target=_work, args=(items, ready, room, stop), name="loader-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            found, error = ready.get()
            if error is not None:
                raise error
            if not found:
                return
            room.release()
            yield found.pop()
    finally:
        stop.set()
        room.release()
        thread.join()


def _work(items: Iterator[Item], ready: "queue.SimpleQueue", room: threading.Semaphore, stop: threading.Event) -> None:
    try:
        while True:
            room.acquire()
            if stop.is_set():
                return
            # The list is the only reference: the consumer pops the item, so a dropped batch frees its buffer at once.
            found = [item for item in [next(items, _END)] if item is not _END]
            ended = not found  # Looked at before the consumer can pop it.
            ready.put((found, None))
            if ended:
                return
            del found
    except BaseException as error:
        ready.put(([], error))


_END: object = object()
