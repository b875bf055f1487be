"""Where a loader's rows come from: memory that holds them all, or the disk, again in every epoch."""

import numpy as np
import torch

from stores.core import Store
from stores.format import Part
from stores.loader.batch_sampler import BatchPlan
from stores.loader.buffers import SlabPool
from stores.loader.tensors import read_part
from stores.loader.views import ViewRule
from stores.loader.windows import Places

# Batches whose rows are looked up at once, so that a batch costs little more than its copy.
_BATCHES_PER_WINDOW = 64


class ResidentRows:
    """All selected rows of some parts, read once, on the device or in this machine's memory."""

    read_ahead = 0

    def __init__(
        self, store: Store, parts: list[Part], rows: np.ndarray, view: ViewRule, device: torch.device, verify: bool
    ) -> None:
        self.rows, self.view = rows, view
        needed = view.needed()
        records = (rows[:, None] * store.views + np.array(needed)).reshape(-1)  # (N, V) -> (N*V,)
        read = {part.name: read_part(store, part, records, verify, dense=True) for part in parts}
        self._values = {name: values.to(device) for name, (values, _) in read.items()}
        self._slots = {name: slots for name, (_, slots) in read.items() if not _is_dense(slots)}
        self._views, self._device = needed, device

    def bounds(self, plan: BatchPlan, epoch: int) -> np.ndarray:
        return np.append(np.arange(0, plan.num_rows, _BATCHES_PER_WINDOW * plan.batch_size), plan.num_rows)

    def locate(self, epoch: int, positions: np.ndarray) -> Places:
        records = positions * len(self._views)
        if len(self._views) > 1:
            records += self.view(epoch, self.rows[positions])
        slots = {name: self._slots[name][records] if name in self._slots else records for name in self._values}
        return Places(self._values, {name: torch.from_numpy(some).to(self._device) for name, some in slots.items()})


class StreamedRows:
    """The selected rows of some parts, read in the order in which they are used, the next window while one is used."""

    read_ahead = 1

    def __init__(self, store: Store, parts: list[Part], rows: np.ndarray, view: ViewRule, verify: bool) -> None:
        self.store, self.parts, self.rows, self.view, self.verify = store, parts, rows, view, verify
        self._slabs = SlabPool()

    def bounds(self, plan: BatchPlan, epoch: int) -> np.ndarray:
        return plan.sequence.windows(epoch)

    def locate(self, epoch: int, positions: np.ndarray) -> Places:
        rows = self.rows[positions]
        records = rows * self.store.views + self.view(epoch, rows)
        read = {
            part.name: read_part(self.store, part, records, self.verify, memory=self._slabs.take) for part in self.parts
        }
        values = {name: values for name, (values, _) in read.items()}
        return Places(values, {name: torch.from_numpy(slots) for name, (_, slots) in read.items()})


def _is_dense(slots: np.ndarray) -> bool:
    """Whether record i simply lies in slot i."""
    return len(slots) == 0 or bool(slots[0] == 0 and (np.diff(slots) == 1).all())
