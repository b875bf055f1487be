"""How many rows a forward pass takes: the number set, the one that a store has recorded, or the most that fit."""

import logging
from collections.abc import Callable
from contextlib import nullcontext

import torch

from stores import StoreWriter
from stores.backends import machine_memory_bytes

LOG = logging.getLogger(__name__)
MEMORY_SHARE = 0.8  # of a GPU's memory; the rest is for fragmentation and batches in transfer
MOST_ROWS = 1024
MOST_ROWS_ON_CPU = 32  # more rows make no pass on a processor faster


def settle_batch_size(
    writer: StoreWriter, requested: int | None, find: Callable[[], int], take_over: bool = False
) -> None:
    """Record the batch size in the store's manifest before its first shard; afterwards the recorded one counts.

    `requested` None (auto) calls `find` once; the result is logged. `take_over` is that of `Lease`.
    """
    recorded = writer.manifest.attributes.get("batch_size") if writer.begun else None
    if recorded is not None and len(writer.missing_shards()) < writer.num_shards:
        if requested not in (None, recorded):
            LOG.warning("batch size %d, as this store was begun; %d counts for a new one", recorded, requested)
        return
    if requested is None and recorded is not None:
        return
    size = requested or find()
    if requested is None:
        LOG.warning("batch size %d is the largest that fits", size)
    with writer.lease(take_over) if writer.begun else nullcontext():
        writer.set_attributes(batch_size=size)


def largest_batch(run: Callable[[int], float]) -> int:
    """The largest power of two up to MOST_ROWS for which `run(rows)` stays within the memory.

    `run` returns the share of the memory that it used at its peak, or raises torch.OutOfMemoryError.

    Raises:
        ValueError: not even one row fits.
    """
    size = 0
    while size < MOST_ROWS:
        tried = max(1, 2 * size)
        try:
            if run(tried) > MEMORY_SHARE:
                break
        except torch.OutOfMemoryError:
            break
        size = tried
    if not size:
        raise ValueError(
            "batch_size: not even one row fits the memory of this device; use a smaller model or another device"
        )
    return size


def batch_on_gpu(run: Callable[[int], object], device: torch.device) -> int:
    """The same for passes on a CUDA device, measured by its allocator."""

    def measured(rows: int) -> float:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        run(rows)
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_reserved(device) / torch.cuda.get_device_properties(device).total_memory

    return largest_batch(measured)


def batch_on_cpu(row_bytes: int, passes: int, memory_bytes: int | None = None) -> int:
    """A power of two up to MOST_ROWS_ON_CPU: all passes together keep to a quarter of the memory.

    `row_bytes` is what a row needs at the peak of a pass.
    """
    memory = memory_bytes or machine_memory_bytes()
    rows = max(1, min(MOST_ROWS_ON_CPU, memory // 4 // (row_bytes * passes)))
    return 1 << (rows.bit_length() - 1)
