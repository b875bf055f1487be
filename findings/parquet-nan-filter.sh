#!/usr/bin/env bash
# A filter given to pyarrow's Parquet reader drops NaN rows that the same filter keeps on the table in memory.
#
# Versions: pyarrow 26.0.1, Python 3.11.
# Use:      parquet.read_table(file, filters=expression), against parquet.read_table(file).filter(expression).
# Expected: the same rows: the filter of the reader is the one of the table, evaluated earlier.
# Happens:  the minimum and maximum that a row group records leave NaN out, as the format asks of writers, and the reader
#           takes them to bound every value. Where all numbers of a group are equal to the one asked for, or lie below
#           the bound, the group is skipped with its NaN. So the images whose score failed are found by
#           ~(score < 10) in a small table in memory, and are gone, without a word, when the file does the filtering;
#           whether a row is found depends on the other rows of its group.
# Output seen:
#   score != 5      in memory: 2 rows    by the reader: 0 rows
#   ~(score < 10)   in memory: 2 rows    by the reader: 0 rows
# What helps: null instead of NaN for "no score" (both agree on null), or filtering after reading.
#
# Ends with 0 while it is so, with 1 once both agree, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile pyarrow==26.0.1 || exit 2
"$work/venv/bin/python" - "$work/scores.parquet" <<'PY'
import math
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

file = sys.argv[1]
pq.write_table(pa.table({"score": pa.array([5.0, math.nan, 5.0, math.nan], pa.float32())}), file)
score = pc.field("score")
lost = []
for text, expression in [("score != 5   ", score != 5.0), ("~(score < 10)", ~(score < 10.0))]:
    in_memory = pq.read_table(file).filter(expression).num_rows
    by_reader = pq.read_table(file, filters=expression).num_rows
    print(f"{text}   in memory: {in_memory} rows    by the reader: {by_reader} rows")
    lost.append(by_reader < in_memory)
sys.exit(0 if all(lost) else 1)
PY
