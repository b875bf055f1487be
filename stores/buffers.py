"""Batch buffers that are used again as soon as nobody looks at them, and never before."""

import sys
import threading

import numpy as np
import torch


class BufferPool:
    """Host buffers of one shape and dtype; pinned when a CUDA device will copy from them.

    A tensor made by torch.from_numpy keeps its numpy array alive through every view of it, so the array's reference
    count says whether a batch that was handed out is still in use: keeping batches is safe, dropping them is fast.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, pinned: bool = False) -> None:
        self.shape, self.dtype, self.pinned = shape, dtype, pinned
        self._arrays: list[np.ndarray] = []
        self._free_count = 0
        self._lock = threading.Lock()

    def take(self) -> torch.Tensor:
        """A buffer that is not in use: a free one, or a new one."""
        with self._lock:
            buffer = torch.from_numpy(self._free_memory())
        return buffer.view(torch.bfloat16) if self.dtype == torch.bfloat16 else buffer

    def _free_memory(self) -> np.ndarray:
        for slot in range(len(self._arrays)):
            if sys.getrefcount(self._arrays[slot]) == self._free_count:
                return self._arrays[slot]
        # numpy has no bfloat16: its bits are held as those of another type.
        held = torch.int16 if self.dtype == torch.bfloat16 else self.dtype
        self._arrays.append(torch.empty(self.shape, dtype=held, pin_memory=self.pinned).numpy())
        self._free_count = sys.getrefcount(self._arrays[-1])
        return self._arrays[-1]


class SlabPool:
    """Large blocks of bytes that are used again once nobody looks at them: fresh memory costs a page fault a page.

    A block serves a smaller request too; one that is too small for a request and free goes.
    """

    def __init__(self) -> None:
        self._slabs: list[np.ndarray] = []
        self._free_count = 0
        self._lock = threading.Lock()

    def take(self, num_bytes: int) -> np.ndarray:
        """uint8 (num_bytes,) with anything in it."""
        with self._lock:
            for slot in range(len(self._slabs)):
                if sys.getrefcount(self._slabs[slot]) == self._free_count:
                    if len(self._slabs[slot]) >= num_bytes:
                        return self._slabs[slot][:num_bytes]
                    del self._slabs[slot]
                    break
            self._slabs.append(np.empty(num_bytes, np.uint8))
            self._free_count = sys.getrefcount(self._slabs[-1])
            return self._slabs[-1][:]
