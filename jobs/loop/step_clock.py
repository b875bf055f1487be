"""Seconds that the device works on training steps, by its own clock where it has one; no step waits for it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_CUDA: Any = torch.cuda  # whose events have no types


class StepClock:
    """Adds up the time from each step's first operation to its last.

    On CUDA by a pair of events on the stream, so that a host that runs ahead of the device counts nothing twice; on
    other devices by the host's clock, which is the same where operations are done when their call returns.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._has_events = device.type == "cuda"
        self._pairs: list[tuple[Any, Any]] = []
        self._seconds = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """The forward and backward pass and the optimizer of one step."""
        if not self._has_events:
            started = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - started
            return
        first, last = self._event(), self._event()
        first.record()
        yield
        last.record()
        self._pairs.append((first, last))

    def take(self) -> float:
        """Seconds since it was last asked; waits for the device."""
        pairs, self._pairs = self._pairs, []
        if pairs:
            pairs[-1][1].synchronize()
        events = sum(float(first.elapsed_time(last)) for first, last in pairs) / 1e3
        seconds, self._seconds = self._seconds + events, 0.0
        return seconds

    def _event(self) -> Any:
        return _CUDA.Event(enable_timing=True)
