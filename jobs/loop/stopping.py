"""A clean stop: Ctrl-C or a termination signal ends the step in progress, then the run is saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class TrainingStopped(KeyboardInterrupt):
    """Ctrl-C or a termination signal, met after the state was saved; the same command goes on from `step`."""

    def __init__(self, step: int, path: Path) -> None:
        super().__init__(f"training stopped at step {step} and saved in {path}; the same command goes on from there")
        self.step, self.path = step, path


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Set an event on SIGINT and SIGTERM, so that the step in progress ends first; a second signal acts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(number, kept[signal.Signals(number)])

    for number in kept:
        signal.signal(number, handle)
    try:
        yield event
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
