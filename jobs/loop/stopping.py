"""A clean stop: Ctrl-C or a termination signal ends the step in progress, then the run is saved."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

# A scheduler that asks a process to end kills it some seconds later.
PATIENCE_SECONDS = 3.0
Overdue = Callable[[], object]


class TrainingStopped(KeyboardInterrupt):
    """Ctrl-C or a termination signal, met after the state was saved; the same command goes on from `step`."""

    def __init__(self, step: int, path: Path) -> None:
        saved = (
            f" and saved in {path}; the same command goes on from there" if step else "; the same command begins anew"
        )
        super().__init__(f"training stopped at step {step}{saved}")
        self.step, self.path = step, path


class PhaseStopped(KeyboardInterrupt):
    """A signal in the middle of work that changes no state of the training, which therefore ends at once."""


@dataclass
class StopSignals:
    """Whether a signal has come, and whether the work in progress may end in its middle."""

    event: threading.Event = field(default_factory=threading.Event)
    _may_raise: bool = False

    def is_set(self) -> bool:
        """Whether a signal has come."""
        return self.event.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait for a signal, at most so many seconds; whether it has come."""
        return self.event.wait(timeout)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Work that a signal ends with PhaseStopped between two of its operations: evaluation, previews."""
        self._may_raise = True
        try:
            if self.is_set():
                raise PhaseStopped
            yield
        finally:
            self._may_raise = False

    def receive(self) -> None:
        """Take in a signal; called between two operations of the main thread."""
        self.event.set()
        if self._may_raise:
            raise PhaseStopped


@contextmanager
def stop_signals(overdue: Overdue | None = None) -> Iterator[StopSignals]:
    """Take in SIGINT and SIGTERM, so that the step in progress ends first; a second signal acts at once.

    Args:
        overdue: Called in a thread when the main one has not left this context some seconds after a SIGTERM: Python
            hands a signal on between two operations, and one backward pass may take minutes.
    """
    stop = StopSignals()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, kept[signal.Signals(number)])
        stop.receive()

    with _watch(overdue):
        for number in kept:
            signal.signal(number, handle)
        try:
            yield stop
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


@contextmanager
def termination_as_interrupt(overdue: Overdue) -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM, so that a scheduler's end of a command is that of Ctrl-C.

    A second SIGTERM acts at once, and so does the first where somebody else takes it in already.

    Args:
        overdue: Called in a thread when this context was not left some seconds after a SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    with _watch(overdue):
        signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _watch(overdue: Overdue | None) -> Iterator[None]:
    """Call `overdue` some seconds after a SIGTERM unless this context was left before."""
    if overdue is None:
        yield
        return
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    left = threading.Event()

    def wait() -> None:
        with suppress(OSError):
            while numbers := reading.recv(16):
                if signal.SIGTERM in numbers and not left.wait(PATIENCE_SECONDS):
                    overdue()

    thread = threading.Thread(target=wait, name="stop-signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        writing.close()
        thread.join()
        reading.close()


_BEFORE_END: list[Callable[[], object]] = []


@contextmanager
def before_end(call: Callable[[], object]) -> Iterator[None]:
    """Have `call` called, in another thread, before `end_process` ends this process from within the context."""
    _BEFORE_END.append(call)
    try:
        yield
    finally:
        _BEFORE_END.remove(call)


def end_process(stopped: TrainingStopped) -> None:
    """End this process from another thread than the main one, with the message and exit code of Ctrl-C."""
    os.write(2, f"stopped: {stopped}\n".encode())
    for call in _BEFORE_END:
        with suppress(Exception):  # the state is saved, and who waits for the end may kill at any time
            call()
    os._exit(130)
