"""Batches on their way to the device: on a side stream, so that copying overlaps with training."""

from collections import deque
from collections.abc import Callable

import torch

from stores.loader.tensors import Batch


class Transfer:
    """Builds batches and moves them to a device; on CUDA without making the training stream wait."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        # Host batches stay referenced until the device has copied them, so their buffers are not taken again too early.
        self._in_flight: deque[tuple[torch.cuda.Event, Batch]] = deque()

    def send(
        self, build: Callable[[], Batch], finish: Callable[[Batch], Batch]
    ) -> tuple[Batch, "torch.cuda.Event | None"]:
        """Build a batch, move it and finish it on the device; the event passes when that is done."""
        if self.device.type == "cpu":
            return finish(build()), None
        if self._stream is None:
            return finish({name: tensor.to(self.device) for name, tensor in build().items()}), None
        with torch.cuda.stream(self._stream):
            host = build()
            batch = finish({name: tensor.to(self.device, non_blocking=True) for name, tensor in host.items()})
            arrived = torch.cuda.Event()
            arrived.record(self._stream)
        self._in_flight.append((arrived, host))
        while self._in_flight and self._in_flight[0][0].query():
            self._in_flight.popleft()
        return batch, arrived

    def receive(self, batch: Batch, arrived: "torch.cuda.Event | None") -> Batch:
        """The batch, safe to use on the caller's current stream."""
        if arrived is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(arrived)
            for tensor in batch.values():
                tensor.record_stream(current)
        return batch
