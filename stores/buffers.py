"""Batch buffers that are used again as soon as nobody looks at them, and never before."""

import math
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
            return torch.from_numpy(self._free_memory()).view(self.dtype).view(self.shape)

    def _free_memory(self) -> np.ndarray:
        for slot in range(len(self._arrays)):
            if sys.getrefcount(self._arrays[slot]) == self._free_count:
                return self._arrays[slot]
        num_bytes = math.prod(self.shape) * self.dtype.itemsize
        self._arrays.append(torch.empty(num_bytes, dtype=torch.uint8, pin_memory=self.pinned).numpy())
        self._free_count = sys.getrefcount(self._arrays[-1])
        return self._arrays[-1]
