"""A thread that writes checkpoints while training goes on: a step waits for a copy in memory, never for the disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch

from jobs.runs.checkpoint import Tensors

Write = Callable[[int, dict[str, Tensors], dict[str, Any]], object]


class CheckpointWriter:
    """Calls `write(step, parts, state)` in its thread with copies of the tensors; at most one write is under way.

    A write that failed raises its error at the next `check`, `submit` or at the end, whichever comes first.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[object] | None = None

    def submit(self, step: int, parts: dict[str, Tensors], state: dict[str, Any]) -> None:
        """Copy the tensors to host memory and hand them to the thread, after the write before was finished."""
        self.wait()
        copied = {name: {key: _copy(value) for key, value in tensors.items()} for name, tensors in parts.items()}
        self._pending = self._thread.submit(self._write, step, copied, state)

    def check(self) -> None:
        """Raise the error of a write that failed; returns at once."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the write under way; raises its error."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:  # else the first error is the one to raise
            self.wait()


def _copy(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to("cpu", copy=True)
