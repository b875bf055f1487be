"""Forward passes of a worker: one thread each on processors, so that no thread count changes a bit of the result."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore
from typing import TypeVar

import torch

Result = TypeVar("Result")

AHEAD = 2  # batches that are ready before a pass is free


class InferencePool:
    """Runs batches through a model: on a processor as many side by side as there are `threads`, on a GPU one at a time.

    Matrix products sum in another order with another number of threads (bf16 most visibly), so a pass on a processor
    has one thread whatever the machine; OpenMP keeps that number per calling thread. Two passes of one thread are also
    faster than one pass of two, which wait for each other. On GPUs the host's threads decide nothing.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        on_cpu = device.type == "cpu"
        self.count = threads if on_cpu else 1
        self._pool = ThreadPoolExecutor(self.count, "pass", partial(torch.set_num_threads, 1) if on_cpu else None)
        self._room = BoundedSemaphore(self.count + AHEAD)

    def submit(self, function: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Start a pass as soon as one is free; waits while many are ready, so that memory stays bounded."""
        self._room.acquire()
        started = self._pool.submit(function, *arguments)
        started.add_done_callback(lambda _: self._room.release())
        return started
