#!/usr/bin/env bash
# pyarrow writes 1,024 values into a Parquet page whatever they weigh, and holds several copies of a page to read a row.
#
# Versions: pyarrow 26.0.1, numpy 2.4.6, Python 3.11.
# Use:      64 images of 1 MB in a row group, written with data_page_size of 1 MiB and dictionary_pagesize_limit of
#           1 MiB (both are the defaults); then the first row, by iter_batches(1) with buffer_size and without pre_buffer.
# Expected: pages of about 1 MiB, as data_page_size says; the first row takes a few megabytes.
# Happens:  sizes are looked at once for each 1,024 values (write_batch_size), so that all images are in one page, or one
#           dictionary, and the first row takes 2 to 5 times the whole row group: 5 GB for 1,024 images of 1 MB.
# Output seen:
#   dictionary          first row: 139 MB of 64 MB
#   dictionary kept     first row: 297 MB of 64 MB
#   plain               first row: 139 MB of 64 MB
#   write_batch_size=1  first row:  16 MB of 64 MB
# What helps: write_batch_size when such a file is written; a reader of its own for files of others.
#
# Ends with 0 while it is so, with 1 once the first row takes little, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile pyarrow==26.0.1 numpy==2.4.6 || exit 2
cd "$work"
"$work/venv/bin/python" - <<'PY'
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SIZE, COUNT, MIB = 1_000_000, 64, 1 << 20
table = pa.table({"image": [np.random.default_rng(number).bytes(SIZE) for number in range(COUNT)]})
FIRST_ROW = """
import pathlib, re, sys
import pyarrow.parquet as pq

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1e3

before = peak()
kept = sys.argv[1:]
with pq.ParquetFile("x.parquet", pre_buffer=False, buffer_size=1 << 20, read_dictionary=kept or None) as file:
    next(file.iter_batches(1, use_threads=False))
print(peak() - before)
"""


def first_row(name: str, kept: list[str], **options: object) -> float:
    """Megabytes by which a process grows at most while it reads the first row."""
    pq.write_table(table, "x.parquet", data_page_size=MIB, dictionary_pagesize_limit=MIB, **options)
    taken = float(subprocess.run([sys.executable, "-c", FIRST_ROW, *kept], capture_output=True, check=True).stdout)
    print(f"{name:19s} first row: {taken:3.0f} MB of {SIZE * COUNT / 1e6:.0f} MB")
    return taken


large = [
    first_row("dictionary", []),
    first_row("dictionary kept", ["image"]),
    first_row("plain", [], use_dictionary=False),
]
first_row("write_batch_size=1", [], write_batch_size=1, use_dictionary=False)
sys.exit(0 if min(large) > SIZE * COUNT / 1e6 else 1)
PY
