"""Keeps what was opened recently, so that reading image after image does not reopen the same file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """The most recently used results of `load`, each loaded once however many threads ask for it.

    The results kept weigh at most `budget` together (`weigh` gives the weight of one), but the newest always stays.
    A result dropped here lives on for whoever still uses it.
    """

    def __init__(self, load: Callable[..., T], budget: int, weigh: Callable[[T], int] = lambda value: 1) -> None:
        self._load, self._budget, self._weigh = load, budget, weigh
        self._entries: dict[tuple[object, ...], Future[T]] = {}
        self._lock = threading.Lock()

    def get(self, *key: object) -> T:
        """`load(*key)`, kept; an error is raised to everyone who waits for it and is not kept."""
        with self._lock:
            known = self._entries.pop(key, None)
            future = self._entries[key] = known or Future()
        if known is None:
            self._fill(key, future)
        return future.result()

    def _fill(self, key: tuple[object, ...], future: Future[T]) -> None:
        try:
            future.set_result(self._load(*key))
        except BaseException as error:
            future.set_exception(error)
            with self._lock:
                self._entries.pop(key, None)
        else:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        with self._lock:
            ready = [(key, entry) for key, entry in self._entries.items() if entry.done() and not entry.exception()]
            loaded = [(key, self._weigh(entry.result())) for key, entry in ready]
            excess = sum(weight for _, weight in loaded) - self._budget
            for key, weight in loaded[:-1]:
                if excess <= 0:
                    break
                del self._entries[key]
                excess -= weight
