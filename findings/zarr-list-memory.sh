#!/usr/bin/env bash
# Reading rows by a list of indices from a sharded zarr array needs tens of times the memory of the rows.
#
# Versions: zarr 3.1.6, numpy 2.4.6, Python 3.11.
# Use:      array[[…]] or array.oindex[[…]] with shuffled row numbers, the batch of a training loop; here 256 of 512 rows
#           of (16, 16, 64) float16, one row a chunk, in one shard.
# Expected: about the memory of a slice of as many rows, or of the same list on the array without shards.
# Happens:  inside a shard the list is spread over all dimensions as arrays of integers, several of 8 bytes for each
#           element of 2 bytes. The peak is 57 times the result; a batch of 1 GiB does not fit into a machine of 32 GiB.
# Output seen:
#   slice of 256 rows:                8 MiB of rows, peak 25 MiB (3 times)
#   list of 256 rows:                 8 MiB of rows, peak 456 MiB (57 times)
#   list of 256 rows, no shards:      8 MiB of rows, peak 10 MiB (1 times)
# What helps: reading the rows one by one, or whole shards by slices and choosing rows from the numpy array.
#
# Ends with 0 while it is so, with 1 once it is less than 10 times, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile zarr==3.1.6 numpy==2.4.6 || exit 2
"$work/venv/bin/python" - "$work" <<'PY'
import sys
import tracemalloc

import numpy as np
import zarr

MIB = 2**20
shape, chunk = (512, 16, 16, 64), (1, 16, 16, 64)
rows = np.random.default_rng(0).choice(512, 256, replace=False)


def create(name, shards):
    path = f"{sys.argv[1]}/{name}"
    array = zarr.create_array(path, shape=shape, chunks=chunk, shards=shards, dtype="float16", compressors=None)
    array[:] = 1
    return array


def measure(title, read):
    tracemalloc.start()
    result = read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    ratio = peak / result.nbytes
    print(f"{title:33} {result.nbytes // MIB} MiB of rows, peak {peak / MIB:.0f} MiB ({ratio:.0f} times)")
    return ratio


sharded, plain = create("sharded", shape), create("plain", None)
by_slice = measure("slice of 256 rows:", lambda: sharded[:256])
by_list = measure("list of 256 rows:", lambda: sharded.oindex[rows])
measure("list of 256 rows, no shards:", lambda: plain.oindex[rows])
sys.exit(0 if by_list > 10 > by_slice else 1)
PY
