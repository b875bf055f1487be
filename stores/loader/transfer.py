"""The way of a batch: buffers that are used again, a thread that prefetches, a stream that copies to the device."""

import atexit
import math
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar, TypeVarTuple

import numpy as np
import torch

Batch = dict[str, torch.Tensor]
_Item = TypeVar("_Item")
_Work = TypeVarTuple("_Work")
_END: Any = object()
_CUDA: Any = torch.cuda  # whose streams and events have no types
_NUMPY_DTYPES = {
    torch.from_numpy(np.empty(0, code)).dtype: np.dtype(code)
    for code in ("f2", "f4", "f8", "u1", "i1", "i2", "i4", "i8")
}
# Who keeps more batches than these keeps them for good: theirs is the memory, and no search goes through it.
MOST_SLABS = 32


class SlabPool:
    """Arrays that are handed out again once nobody refers to them: fresh memory costs a page fault a page.

    What was handed out is a view, which keeps the array alive through every view and tensor made of it; so the array's
    reference count says whether it is still in use. One serves a smaller request too; a free one that is too small for
    a request is dropped, and of more than `MOST_SLABS` in use the oldest is forgotten. `make` gives an array of so many
    entries along its first axis, by default of bytes.
    """

    def __init__(self, make: Callable[[int], np.ndarray] | None = None) -> None:
        self._make = make or (lambda num_bytes: np.empty(num_bytes, np.uint8))
        self._slabs: list[np.ndarray] = []
        self._free_count = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> np.ndarray:
        """An array of `count` entries along its first axis with anything in it."""
        with self._lock:
            for slot in range(len(self._slabs)):
                if sys.getrefcount(self._slabs[slot]) == self._free_count:
                    if len(self._slabs[slot]) >= count:
                        return self._slabs[slot][:count]
                    del self._slabs[slot]
                    break
            if len(self._slabs) == MOST_SLABS:
                del self._slabs[0]
            self._slabs.append(self._make(count))
            self._free_count = sys.getrefcount(self._slabs[-1])
            return self._slabs[-1][:]


class BufferPool:
    """Host buffers of any shape and dtype; pinned when a CUDA device will copy from them.

    A batch that the caller keeps is never overwritten; the buffer of one that was dropped is used again.
    """

    def __init__(self, pinned: bool = False) -> None:
        self.pinned = pinned
        self._slabs = SlabPool(self._new)
        # Slabs as arrays of the shape and dtype asked for last. A tensor holds the array that it is made of, whose
        # reference count then says whether it is in use: the common batch costs one call of torch.
        self._form: tuple[tuple[int, ...], torch.dtype] = ((), torch.uint8)
        self._arrays: list[np.ndarray] = []
        self._free_count = 0
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A buffer that is not in use: a free one, or a new one."""
        with self._lock:
            if self._form != (shape, dtype):
                self._form, self._arrays = (shape, dtype), []
            for slot in range(len(self._arrays)):
                if sys.getrefcount(self._arrays[slot]) == self._free_count:
                    break
            else:
                slot = self._add(shape, dtype)
            values = torch.from_numpy(self._arrays[slot])
        return values if dtype in _NUMPY_DTYPES else values.view(dtype)

    def _add(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        if len(self._arrays) == MOST_SLABS:
            del self._arrays[0]
        # numpy has no dtype of bfloat16 and others.
        stored = _NUMPY_DTYPES.get(dtype, np.dtype(f"i{dtype.itemsize}"))
        self._arrays.append(self._slabs.take(math.prod(shape) * dtype.itemsize).view(stored).reshape(shape))
        self._free_count = sys.getrefcount(self._arrays[-1])
        return len(self._arrays) - 1

    def _new(self, num_bytes: int) -> np.ndarray:
        # torch's memory begins at a cache line, unlike numpy's.
        values: np.ndarray = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=self.pinned).numpy()
        return values


class BufferPools(dict[str, BufferPool]):
    """A `BufferPool` for each name, such as that of an array; several loaders may share them."""

    def __init__(self, pinned: bool = False) -> None:
        super().__init__()
        self.pinned = pinned

    def __missing__(self, name: str) -> BufferPool:
        pool = self[name] = BufferPool(self.pinned)
        return pool

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the buffers and their locks, which another process cannot share."""
        return BufferPools, (self.pinned,)


def prefetched(items: Iterator[_Item], depth: int) -> Generator[_Item, None, None]:
    """The same items in the same order, up to `depth` of them made by a thread before they are asked for; 0: no thread.

    An error in the thread is raised where the item would have come. Closing the iterator ends the thread.
    """
    if depth == 0:
        yield from items
        return
    ready: queue.SimpleQueue[tuple[list[_Item], BaseException | None]] = queue.SimpleQueue()
    # Leave to make an item, or to look at `stop`: a queue in C, where a semaphore of `threading` is Python code.
    room: queue.SimpleQueue[None] = queue.SimpleQueue()
    stop = threading.Event()
    for _ in range(depth):
        room.put(None)
    thread = threading.Thread(target=_work, args=(items, ready, room, stop), name="loader-prefetch", daemon=True)
    thread.start()

    def end() -> None:
        stop.set()
        room.put(None)
        thread.join()

    # Of an iterator that lives on to the interpreter's end, too: there a thread within torch would abort the process.
    atexit.register(end)
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if not item:
                return
            room.put(None)
            yield item.pop()
    finally:
        atexit.unregister(end)
        end()


def _work(
    items: Iterator[Any], ready: "queue.SimpleQueue[Any]", room: "queue.SimpleQueue[None]", stop: threading.Event
) -> None:
    try:
        while True:
            room.get()
            if stop.is_set():
                return
            # The list is the only reference: the consumer pops the item, so a dropped batch frees its buffer at once.
            made = [item for item in [next(items, _END)] if item is not _END]
            ended = not made  # Looked at before the consumer can pop it.
            ready.put((made, None))
            if ended:
                return
            del made
    except BaseException as error:
        ready.put(([], error))


class Transfer:
    """Builds batches and moves them to a device; on CUDA without making the training stream wait."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._is_here = device.type == "cpu"
        self._stream = _CUDA.Stream(device) if device.type == "cuda" else None
        # Host batches stay referenced until the device has copied them, so their buffers are not taken again too early.
        self._in_flight: deque[tuple[Any, Batch]] = deque()

    def send(
        self, build: Callable[[*_Work], Batch], finish: Callable[[Batch, *_Work], list[Batch]], *work: *_Work
    ) -> tuple[list[Batch], "torch.cuda.Event | None"]:
        """Build batches as one, move them and finish them on the device; the event passes when that is done."""
        if self._is_here:
            return finish(build(*work), *work), None
        if self._stream is None:
            return finish({name: tensor.to(self.device) for name, tensor in build(*work).items()}, *work), None
        with torch.cuda.stream(self._stream):
            host = build(*work)
            arriving = {name: tensor.to(self.device, non_blocking=True) for name, tensor in host.items()}
            batches = finish(arriving, *work)
            arrived = _CUDA.Event()
            arrived.record(self._stream)
        self._in_flight.append((arrived, host))
        while self._in_flight and self._in_flight[0][0].query():
            self._in_flight.popleft()
        return batches, arrived

    def receive(self, batches: list[Batch], arrived: "torch.cuda.Event | None") -> list[Batch]:
        """The batches, safe to use on the caller's current stream."""
        if arrived is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(arrived)
            for tensor in (tensor for batch in batches for tensor in batch.values()):
                tensor.record_stream(current)
        return batches


class EpochBatches(Iterator[Batch]):
    """An iterator over an epoch, or over the rest of one; `len` counts the batches that are still to come.

    Closing it ends the thread that prefetches.
    """

    def __init__(self, batches: Generator[Batch, None, None], count: int) -> None:
        self._batches, self._count = batches, count

    def __next__(self) -> Batch:
        batch = next(self._batches)
        self._count -= 1
        return batch

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """End the iteration and its thread."""
        self._batches.close()
        self._count = 0
