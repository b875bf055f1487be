#!/usr/bin/env bash
# numpy.load(…, mmap_mode="r") reads an uncompressed .npz whole, at every access.
#
# Versions: numpy 2.4.6, Python 3.11.
# Use:      numpy.savez(file, images=…), then numpy.load(file, mmap_mode="r")["images"][i], the way of the reference
#           statistics and sample sets of image generation.
# Expected: a memory map, as for .npy: the documentation of mmap_mode names no exception, and the members that savez
#           writes are not compressed. One row read costs one row.
# Happens:  mmap_mode is not used for .npz: every access by name reads the whole array into memory, and nothing keeps
#           it, so a loop over the rows reads the whole array once a row.
# Output seen:
#   .npy: memmap, 0.0 MiB of memory for one row
#   .npz: ndarray, 64.0 MiB of memory for one row
#   .npz: 8 rows, one at a time, read 512 MiB from the file
# What helps: .npy files beside each other, or taking the array out once before the loop.
#
# Ends with 0 while it is so, with 1 once the map is used, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile numpy==2.4.6 || exit 2
"$work/venv/bin/python" - "$work" <<'PY'
import sys
import tracemalloc

import numpy as np

MIB = 2**20
folder = sys.argv[1]
images = np.zeros((64, MIB), np.uint8)
np.save(f"{folder}/set.npy", images)
np.savez(f"{folder}/set.npz", images=images)
del images


def first_row(open_array):
    tracemalloc.start()
    array = open_array()
    array[0].copy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return type(array).__name__, peak


mapped_kind, mapped = first_row(lambda: np.load(f"{folder}/set.npy", mmap_mode="r"))
whole_kind, whole = first_row(lambda: np.load(f"{folder}/set.npz", mmap_mode="r")["images"])
print(f".npy: {mapped_kind}, {(mapped - MIB) / MIB:.1f} MiB of memory for one row")
print(f".npz: {whole_kind}, {(whole - MIB) / MIB:.1f} MiB of memory for one row")
before = int(open("/proc/self/io").read().split("rchar:")[1].split()[0])
with np.load(f"{folder}/set.npz", mmap_mode="r") as archive:
    for row in range(8):
        archive["images"][row]
read = int(open("/proc/self/io").read().split("rchar:")[1].split()[0]) - before
print(f".npz: 8 rows, one at a time, read {read / MIB:.0f} MiB from the file")
sys.exit(0 if mapped < 8 * MIB and whole > 60 * MIB and read > 500 * MIB else 1)
PY
