"""Batches through a model on an accelerator in three stages side by side: copies in, passes, copies out."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_CUDA: Any = torch.cuda  # whose streams and events have no types
IN_FLIGHT = 2  # batches that were started and have not arrived; more would only hold memory


def host_buffer(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory of this machine with anything in it, pinned where the device is CUDA: copies then wait for nobody."""
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=device.type == "cuda")


class Arrival:
    """Results on their way to this machine's memory; `held` keeps their buffers from being used again meanwhile."""

    def __init__(self, event: Any = None, held: Sequence[Tensor] = ()) -> None:
        self._event, self._held = event, held

    def wait(self) -> None:
        """Return when the results are there."""
        if self._event is not None:
            self._event.synchronize()
        self._held = ()


class DeviceStages:
    """Runs a model on batches of one thread; on CUDA the next batch is copied in while this one is computed.

    On other devices a pass and its copies are done when `run` returns.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._streams = [_CUDA.Stream(device) for _ in range(2)] if device.type == "cuda" else None
        self._in_flight: deque[Arrival] = deque()

    def run(self, batch: Tensor, forward: Callable[[Tensor], Sequence[Tensor]], outputs: Sequence[Tensor]) -> Arrival:
        """Start a pass; nothing waits for the device but for batches before the last ones.

        Args:
            batch: On this machine, pinned to be copied without a wait.
            forward: The batch, on the device where that is CUDA, to results on the device; reads no value.
            outputs: Where the results go, on this machine; nobody reads them before the arrival.
        """
        if self._streams is None:
            for output, result in zip(outputs, forward(batch), strict=True):
                output.copy_(result)
            return Arrival()
        copies_in, copies_out = self._streams
        passes = _CUDA.current_stream(self.device)
        with _CUDA.stream(copies_in):
            there = batch.to(self.device, non_blocking=True)
        passes.wait_stream(copies_in)
        _used_on(passes, there)
        results = forward(there)
        copies_out.wait_stream(passes)
        with _CUDA.stream(copies_out):
            for output, result in zip(outputs, results, strict=True):
                output.copy_(result, non_blocking=True)
                _used_on(copies_out, result)
            event = _CUDA.Event()
            event.record(copies_out)
        arrival = Arrival(event, (batch, *outputs))
        self._in_flight.append(arrival)
        if len(self._in_flight) > IN_FLIGHT:
            self._in_flight.popleft().wait()
        return arrival


def _used_on(stream: Any, tensor: Tensor) -> None:
    """Keep the allocator from handing out the tensor's memory before the stream has come so far."""
    if tensor.is_cuda:
        tensor.record_stream(stream)
