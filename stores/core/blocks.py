"""Records from disk in few large reads: neighbors together, small gaps read over, several reads at a time."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from stores.backends import ByteStore
from stores.format import ShardFormat

# What one read brings; less where all records together are too few for every thread to have one.
BLOCK_BYTES, LEAST_BLOCK_BYTES = 4 << 20, 1 << 20
# Reading over a gap is cheaper than a second request up to about this size.
GAP_BYTES = 64 << 10
READ_THREADS = 4
# Records that are between two places at a time.
MOVED_BYTES = 1 << 20


# Rows that begin at cache lines are gathered 10 % faster into memory that does, too.
_CACHE_LINE_BYTES = 64
# A number of bytes -> an array uint8 (num_bytes,) that nobody else uses.
Memory = Callable[[int], np.ndarray]


def new_memory(num_bytes: int) -> np.ndarray:
    """Uninitialized memory, uint8 (num_bytes,), that begins at a cache line."""
    room = np.empty(num_bytes + _CACHE_LINE_BYTES, np.uint8)
    start = -room.__array_interface__["data"][0] % _CACHE_LINE_BYTES
    return room[start : start + num_bytes]


@dataclass(frozen=True)
class ReadBlock:
    """One read: `count` records from `first` on in a shard, to be put at `slot` of the buffer."""

    shard: int
    first: int
    count: int
    slot: int


def plan_blocks(records: np.ndarray, form: ShardFormat) -> tuple[list[ReadBlock], np.ndarray, int]:
    """Reads that cover ascending record numbers (row * views + view), each record's slot, and the buffer's length."""
    starts = np.concatenate([[0], np.flatnonzero(_begins_run(records, form)) + 1])
    ends = np.concatenate([starts[1:], [len(records)]])
    first, past = records[starts], records[ends - 1] + 1
    base = np.concatenate([[0], np.cumsum(past - first)])
    slots = records - np.repeat(first - base[:-1], ends - starts)
    runs = zip((first // form.capacity).tolist(), first.tolist(), past.tolist(), base[:-1].tolist(), strict=True)
    share = int(base[-1]) * form.stride // READ_THREADS
    step = max(1, min(BLOCK_BYTES, max(LEAST_BLOCK_BYTES, share)) // form.stride)
    return [block for run in runs for block in _split(*run, form, step)], slots, int(base[-1])


def record_groups(records: np.ndarray, form: ShardFormat, num_bytes: int) -> Iterator[slice]:
    """Parts of ascending record numbers whose reads take about so many bytes each, and one record at least.

    A record may come several times.
    """
    if not len(records):
        return
    costs = np.where(_begins_run(records, form), 1, np.diff(records)) * form.stride
    group = np.cumsum(np.concatenate([[form.stride], costs])) // num_bytes
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(records)]
    yield from (slice(*edge) for edge in itertools.pairwise(edges))


def copy_records(source: np.ndarray, slots: np.ndarray, target: np.ndarray, positions: np.ndarray) -> None:
    """target[positions] = source[slots] of records, uint8 (any number, bytes of one), with little memory beside."""
    step = max(1, MOVED_BYTES // source.shape[1])
    for start in range(0, len(slots), step):
        moved = slice(start, start + step)
        target[positions[moved]] = source[slots[moved]]


def _begins_run(records: np.ndarray, form: ShardFormat) -> np.ndarray:
    """bool (n - 1,): which records after the first are not read together with the one before."""
    shards = records // form.capacity
    return np.asarray((np.diff(shards) != 0) | ((np.diff(records) - 1) * form.stride > GAP_BYTES))


def read_blocks(
    blobs: ByteStore,
    form: ShardFormat,
    keys: dict[int, str],
    records: np.ndarray,
    verify: bool = True,
    memory: Memory = new_memory,
) -> tuple[np.ndarray, np.ndarray]:
    """Read ascending record numbers into a buffer (m, stride) uint8; also returns each record's slot in it, int64 (n,).

    keys: the key of each shard's file. `verify` compares the checksums of these records. `memory` gives so many bytes.

    Raises:
        CorruptStoreError: a record's bytes are not what was written.
    """
    if not len(records):
        return np.empty((0, form.stride), np.uint8), np.empty(0, np.int64)
    blocks, slots, length = plan_blocks(records, form)
    buffer = memory(length * form.stride).reshape(length, form.stride)

    def read(block: ReadBlock) -> None:
        part = buffer[block.slot : block.slot + block.count]
        blobs.read_into(keys[block.shard], block.first * form.stride, part.data.cast("B"))
        if verify:
            low, high = np.searchsorted(slots, [block.slot, block.slot + block.count])
            wanted = slots[low:high] - block.slot
            form.check_records(part, wanted, f"{blobs.url}/{keys[block.shard]}", block.first)

    if len(blocks) == 1:
        read(blocks[0])
    else:
        with ThreadPoolExecutor(min(READ_THREADS, len(blocks)), thread_name_prefix="store-read") as pool:
            list(pool.map(read, blocks))
    return buffer, slots


def _split(shard: int, first: int, past: int, slot: int, form: ShardFormat, step: int) -> Iterator[ReadBlock]:
    """A run of records of one shard in reads of at most so many."""
    for start in range(first, past, step):
        count = min(step, past - start)
        yield ReadBlock(shard, start - shard * form.capacity, count, slot + start - first)
