#!/usr/bin/env bash
# dask.array.from_zarr cuts a sharded zarr array at its inner chunks: 512 requests and tasks where 4 would do.
#
# Versions: dask 2026.8.0, zarr 3.1.6, Python 3.11.
# Use:      dask.array.from_zarr(array).sum() on 4 shards of 64 rows, one row a chunk.
# Expected: one block a shard, the unit that is stored as one object and read by one request.
# Happens:  the blocks are the inner chunks. Each of the 256 rows is a task of its own that fetches the index of its
#           shard and then its bytes: 512 requests instead of 4. A store with a million rows becomes a graph of millions
#           of tasks.
# Output seen:
#   from_zarr(array):                      256 blocks, 512 requests
#   from_zarr(array, chunks=array.shards): 4 blocks, 4 requests
# What helps: chunks=array.shards.
#
# Ends with 0 while it is so, with 1 once shards are the default, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile "dask[array]==2026.8.0" zarr==3.1.6 || exit 2
"$work/venv/bin/python" - <<'PY'
import sys

import dask
import dask.array as da
import zarr
from zarr.storage import MemoryStore


class CountingStore(MemoryStore):
    requests = 0

    async def get(self, key, prototype, byte_range=None):
        CountingStore.requests += 1
        return await super().get(key, prototype, byte_range)


array = zarr.create_array(
    CountingStore(), shape=(256, 4096), chunks=(1, 4096), shards=(64, 4096), dtype="float32", compressors=None
)
array[:] = 1
counts = []
for title, options in [("from_zarr(array)", {}), ("from_zarr(array, chunks=array.shards)", {"chunks": array.shards})]:
    CountingStore.requests = 0
    blocks = da.from_zarr(array, **options)
    with dask.config.set(scheduler="synchronous"):
        assert blocks.sum().compute() == array.size
    counts.append(CountingStore.requests)
    print(f"{title + ':':38} {blocks.npartitions} blocks, {CountingStore.requests} requests")
sys.exit(0 if counts[0] >= 100 * counts[1] else 1)
PY
