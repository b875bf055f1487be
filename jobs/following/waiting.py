"""Waiting until enough rows of a store are committed, as long as there is hope that they come."""

import threading
import time
from typing import Any

from jobs.config import GONE_SECONDS
from jobs.executors import OnProgress
from stores import IncompleteStoreError
from stores.core import StoreFollower, StoreSnapshot

LOOK_SECONDS = 1.0


def wait_for_rows(
    follower: StoreFollower,
    wanted: int,
    patience_seconds: float,
    on_progress: OnProgress,
    look_seconds: float = LOOK_SECONDS,
) -> StoreSnapshot:
    """The first snapshot that has so many training rows, or all that the store will have.

    Args:
        follower: takes the snapshots.
        wanted: training rows.
        patience_seconds: how long to wait without a new row; where the writer is gone a minute at most.
        on_progress: called with the rows that are there, those wanted, and what is known of the writer.
        look_seconds: between two looks.

    Raises:
        IncompleteStoreError: no new row has come for that long.
    """
    limit, said = WaitLimit(wanted, patience_seconds), ""
    while True:
        view = follower.take()
        rows, writer = len(view.rows("train")), follower.writer()
        if rows >= wanted or view.is_whole:
            return view
        words = _words(writer)
        on_progress(rows, wanted, {} if words == said else {"phase": words})  # which is written at once
        said = words
        limit.check(view, writer)
        pause(look_seconds)


class WaitLimit:
    """Remembers when rows came last and when the writer was alive last.

    Args:
        wanted: training rows that are waited for.
        patience_seconds: as of `wait_for_rows`.
    """

    def __init__(self, wanted: int, patience_seconds: float) -> None:
        self.wanted = wanted
        # Before its first row a writer may have to start workers and load an encoder.
        self.patience_seconds = self.gone_seconds = patience_seconds
        self.rows = -1
        self.grown = self.alive = time.monotonic()

    def check(self, view: StoreSnapshot, writer: dict[str, Any] | None) -> None:
        """Take in what is there now.

        Raises:
            IncompleteStoreError: it is time to give up.
        """
        now, rows = time.monotonic(), len(view.rows("train"))
        if rows > self.rows:
            self.rows, self.grown = rows, now
        if writer is not None and writer["alive"]:
            self.alive = now
        if writer is not None or rows:
            self.gone_seconds = min(self.patience_seconds, GONE_SECONDS)
        still, gone = now - self.grown, now - self.alive
        if still < self.patience_seconds and gone < self.gone_seconds:
            return
        why = f"{_words(writer)} for {gone:.0f} s" if gone >= self.gone_seconds else f"no new row for {still:.0f} s"
        raise IncompleteStoreError(
            f"{view.url}: expected {self.wanted:,} committed training rows; received {rows:,}, and {why}: run the "
            "command that writes it again, then this one"
        )


def pause(seconds: float) -> None:
    """Wait; a signal's handler runs meanwhile."""
    threading.Event().wait(seconds)


def _words(writer: dict[str, Any] | None) -> str:
    """What is known of the process that writes the store."""
    if writer is None:
        return "nobody writes it"
    return f"process {writer.get('process')} on {writer.get('host')} {'writes' if writer['alive'] else 'is gone'}"
