#!/usr/bin/env bash
# A slice that leaves out one row of a shard costs zarr-python one request a row instead of one in all.
#
# Versions: zarr 3.1.6, Python 3.11.
# Use:      array[0:63] against array[0:64] on shards of 64 rows, one row a chunk. The last batch of a split, or any batch
#           that is not a multiple of the shard, reads so.
# Expected: one or two more requests: the rows of a shard lie side by side in one object, so that a range of bytes
#           holds them all, once the index of the shard is known.
# Happens:  as soon as one chunk of the shard is not wanted, every other is fetched by a request of its own, after the
#           index, which is fetched again at each read. On an object store, where each request waits for the network and
#           is paid for, 63 rows take 64 requests and 64 rows one.
# Output seen:
#   array[0:64]: 1 request, 1049604 bytes
#   array[0:63]: 64 requests, 1033220 bytes
#   array[5]:    2 requests, 17412 bytes
#   array[5]:    2 requests, 17412 bytes (again)
# What helps: reading whole shards and cutting in memory, or a reader that joins neighboring ranges.
#
# Ends with 0 while it is so, with 1 once ranges are joined, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile zarr==3.1.6 || exit 2
"$work/venv/bin/python" - <<'PY'
import sys

import zarr
from zarr.storage import MemoryStore


class CountingStore(MemoryStore):
    requests = num_bytes = 0

    async def get(self, key, prototype, byte_range=None):
        value = await super().get(key, prototype, byte_range)
        CountingStore.requests += 1
        CountingStore.num_bytes += len(value or b"")
        return value


def count(title, read, note=""):
    CountingStore.requests = CountingStore.num_bytes = 0
    read()
    unit = "request" if CountingStore.requests == 1 else "requests"
    print(f"{title:12} {CountingStore.requests} {unit}, {CountingStore.num_bytes} bytes{note}")
    return CountingStore.requests


array = zarr.create_array(
    CountingStore(), shape=(64, 4096), chunks=(1, 4096), shards=(64, 4096), dtype="float32", compressors=None
)
array[:] = 1
whole = count("array[0:64]:", lambda: array[0:64])
partial = count("array[0:63]:", lambda: array[0:63])
count("array[5]:", lambda: array[5])
count("array[5]:", lambda: array[5], " (again)")
sys.exit(0 if whole == 1 and partial >= 63 else 1)
PY
