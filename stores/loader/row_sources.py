"""Where a loader's rows come from: memory that holds them all, or the disk, again in every epoch."""

import numpy as np
import torch

from stores.core import Memory, Store, new_memory
from stores.format import Part, ShardFormat
from stores.loader.batch_sampler import BatchSampler, even_windows
from stores.loader.options import ViewRule
from stores.loader.transfer import SlabPool
from stores.loader.windows import RowSlots

# Batches whose rows are located at once, so that a batch costs little more than its copy.
_BATCHES_PER_WINDOW = 64
# Records moved together when the gaps of the checksums are closed.
_MOVED_RECORDS = 256


class ResidentRows:
    """All selected rows of some parts, read once, on the device or in this machine's memory."""

    prefetch_windows = 0

    def __init__(
        self, store: Store, parts: list[Part], rows: np.ndarray, view: ViewRule, device: torch.device, verify: bool
    ) -> None:
        self.rows, self.view = rows, view
        needed = view.needed()
        records = (rows[:, None] * store.views + np.array(needed)).reshape(-1)  # (N, V) -> (N*V,)
        read = {part.name: read_part(store, part, records, verify, dense=True) for part in parts}
        self._values = {name: values.to(device) for name, (values, _) in read.items()}
        self._slots = {name: slots for name, (_, slots) in read.items() if not _is_identity(slots)}
        self._views, self._device = needed, device

    def windows(self, sampler: BatchSampler, epoch: int) -> np.ndarray:
        """Windows of a number of batches whose slots are computed at once."""
        return even_windows(sampler.num_rows, _BATCHES_PER_WINDOW * sampler.batch_size)

    def locate(self, epoch: int, positions: np.ndarray) -> RowSlots:
        """Slots of rows that are in memory already."""
        records = positions * len(self._views)
        if len(self._views) > 1:
            records += self.view(epoch, self.rows[positions])
        slots = {name: self._slots[name][records] if name in self._slots else records for name in self._values}
        return RowSlots(self._values, {name: torch.from_numpy(some).to(self._device) for name, some in slots.items()})


class StreamedRows:
    """The selected rows of some parts, read in the order in which they are used, the next window while one is used."""

    prefetch_windows = 1

    def __init__(self, store: Store, parts: list[Part], rows: np.ndarray, view: ViewRule, verify: bool) -> None:
        self.store, self.parts, self.rows, self.view, self.verify = store, parts, rows, view, verify
        self._slabs = SlabPool()

    def windows(self, sampler: BatchSampler, epoch: int) -> np.ndarray:
        """The windows of the order, each read from disk as one."""
        return sampler.order.windows(epoch)

    def locate(self, epoch: int, positions: np.ndarray) -> RowSlots:
        """Read the rows and return their slots."""
        rows = self.rows[positions]
        records = rows * self.store.views + self.view(epoch, rows)
        read = {
            part.name: read_part(self.store, part, records, self.verify, memory=self._slabs.take) for part in self.parts
        }
        values = {name: values for name, (values, _) in read.items()}
        return RowSlots(values, {name: torch.from_numpy(slots) for name, (_, slots) in read.items()})


def read_part(
    store: Store, part: Part, records: np.ndarray, verify: bool, dense: bool = False, memory: Memory = new_memory
) -> tuple[torch.Tensor, np.ndarray]:
    """Read records (row * views + view, any order): values (m, values of a record), and the slot of each.

    `dense` closes the gaps that the checksums leave, once; rows are then gathered 7 % faster.
    """
    ascending = records.ndim == 1 and bool((np.diff(records) > 0).all())
    distinct, inverse = (records, slice(None)) if ascending else np.unique(records, return_inverse=True)
    buffer, slots = store.read_buffer(part, distinct, verify, memory)
    form = store.format(part)
    values = _dense_values(form, buffer) if dense else _record_values(form, buffer)
    return values, slots[inverse].reshape(records.shape)


def _record_values(form: ShardFormat, buffer: np.ndarray) -> torch.Tensor:
    """(m, stride) uint8 records -> (m, values of a record), sharing their memory: the checksums are stepped over."""
    part = form.part
    flat = _to_tensor(part, buffer.view(part.numpy_dtype))  # (m, stride) bytes -> (m, stride / item) values
    return flat[:, : part.record_bytes // part.numpy_dtype.itemsize]


def _dense_values(form: ShardFormat, buffer: np.ndarray) -> torch.Tensor:
    """(m, stride) uint8 records -> (m, values of a record) side by side, moved within their memory."""
    part, num_bytes = form.part, form.part.record_bytes
    memory = buffer.reshape(-1)
    for start in range(0, len(buffer), _MOVED_RECORDS):
        block = buffer[start : start + _MOVED_RECORDS, :num_bytes].reshape(-1)  # a copy: what is moved may overlap
        memory[start * num_bytes : start * num_bytes + len(block)] = block
    # (m * record_bytes,) -> (m, values of a record)
    return _to_tensor(part, memory[: len(buffer) * num_bytes].view(part.numpy_dtype).reshape(len(buffer), -1))


def _to_tensor(part: Part, values: np.ndarray) -> torch.Tensor:
    """The same memory; uint16 holds the bits of bfloat16."""
    if part.dtype == "uint16":
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)


def _is_identity(slots: np.ndarray) -> bool:
    """Whether record i simply lies in slot i."""
    return len(slots) == 0 or bool(slots[0] == 0 and (np.diff(slots) == 1).all())
