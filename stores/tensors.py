"""Stored parts as torch tensors, and the values they stand for."""

from collections.abc import Callable

import numpy as np
import torch

from stores.reader import Store
from stores.shard import ShardFormat
from stores.spec import ArraySpec, Part

Batch = dict[str, torch.Tensor]


def read_part(store: Store, part: Part, records: np.ndarray, verify: bool) -> tuple[torch.Tensor, np.ndarray]:
    """Read records (row * views + view, any order): values (m, values of a record), and where each is."""
    ascending = records.ndim == 1 and bool((np.diff(records) > 0).all())
    distinct, back = (records, slice(None)) if ascending else np.unique(records, return_inverse=True)
    buffer, slots = store.read_buffer(part, distinct, verify)
    return record_values(store.format(part), buffer), slots[back].reshape(records.shape)


def record_values(form: ShardFormat, buffer: np.ndarray) -> torch.Tensor:
    """(m, stride) uint8 records -> (m, values of a record), sharing their memory: the checksums are stepped over."""
    part = form.part
    flat = _to_tensor(part, buffer.view(part.numpy_dtype))  # (m, stride) bytes -> (m, stride / item) values
    return flat[:, : part.record_bytes // part.numpy_dtype.itemsize]


def decode(spec: ArraySpec, parts: Batch, buffer: Callable[[tuple[int, ...]], torch.Tensor | None]) -> torch.Tensor:
    """The values (B, *row_shape) of an array's parts (B, ...), on their device.

    int8 becomes float32 in one pass, int8 * scale; `buffer` may give a float32 tensor of a shape to write it to.
    """
    stored = parts[spec.parts[0].name]
    if spec.dtype != "int8":
        return stored
    scale = parts[spec.parts[1].name].unsqueeze(-1)  # (B, h, w) -> (B, h, w, 1)
    return torch.mul(stored, scale, out=buffer(tuple(stored.shape)))


def _to_tensor(part: Part, values: np.ndarray) -> torch.Tensor:
    """The same memory; uint16 holds the bits of bfloat16."""
    if part.dtype == "uint16":
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)
