"""Batch buffers that are used again as soon as nobody looks at them, and never before."""

import sys
import threading
from collections.abc import Callable

import numpy as np
import torch


class SlabPool:
    """Arrays that are handed out again once nobody looks at them: fresh memory costs a page fault a page.

    What was handed out is a view, which keeps the array alive through every view and tensor made of it; so the array's
    reference count says whether it is still in use. One serves a smaller request too; a free one that is too small for
    a request goes. `make` gives an array of so many entries along its first axis, by default of bytes.
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
            self._slabs.append(self._make(count))
            self._free_count = sys.getrefcount(self._slabs[-1])
            return self._slabs[-1][:]


class BufferPool:
    """Host buffers of rows of one shape and dtype; pinned when a CUDA device will copy from them.

    Keeping batches is safe, dropping them is fast.
    """

    def __init__(self, row_shape: tuple[int, ...], dtype: torch.dtype, pinned: bool = False) -> None:
        self.row_shape, self.dtype, self.pinned = row_shape, dtype, pinned
        self._slabs = SlabPool(self._new)

    def take(self, rows: int) -> torch.Tensor:
        """A buffer (rows, *row_shape) that is not in use: a free one, or a new one."""
        buffer = torch.from_numpy(self._slabs.take(rows))
        return buffer.view(torch.bfloat16) if self.dtype == torch.bfloat16 else buffer

    def _new(self, rows: int) -> np.ndarray:
        # numpy has no bfloat16: its bits are held as those of another type.
        held = torch.int16 if self.dtype == torch.bfloat16 else self.dtype
        return torch.empty((rows, *self.row_shape), dtype=held, pin_memory=self.pinned).numpy()
