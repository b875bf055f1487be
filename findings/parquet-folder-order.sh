#!/usr/bin/env bash
# A table written by pyarrow.dataset.write_dataset comes back in another row order once it fills more than ten files.
#
# Versions: pyarrow 26.0.1, Python 3.11.
# Use:      write_dataset(table, folder, max_rows_per_file=…, preserve_order=True), then dataset(folder).to_table()
#           or parquet.read_table(folder).
# Expected: the rows in the order of the table, which is what preserve_order=True asks for: labels or captions kept
#           beside the folder, matched by row number, still belong to the rows.
# Happens:  the files are named part-0, part-1, … without padding and read in the order of their names as text, in
#           which part-10 stands before part-2. Nothing is lost, no error and no warning: from the third file on, each
#           row stands where another was.
# Output seen:
#   rows written: 0 1 2 3 4 5 6 7 8 9 10 11
#   dataset:      0 1 10 11 2 3 4 5 6 7 8 9
#   read_table:   0 1 10 11 2 3 4 5 6 7 8 9
# What helps: a column with the row number, or one file per writer with a padded number in its name.
#
# Ends with 0 while it is so, with 1 once the order is kept, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile pyarrow==26.0.1 || exit 2
"$work/venv/bin/python" - "$work/table" <<'PY'
import sys

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

folder = sys.argv[1]
rows = list(range(12))
pyarrow.dataset.write_dataset(
    pa.table({"row": rows}), folder, format="parquet", max_rows_per_file=1, max_rows_per_group=1, preserve_order=True
)
by_dataset = pyarrow.dataset.dataset(folder).to_table()["row"].to_pylist()
by_table = pyarrow.parquet.read_table(folder)["row"].to_pylist()
print("rows written:", *rows)
print("dataset:     ", *by_dataset)
print("read_table:  ", *by_table)
sys.exit(0 if by_dataset != rows and sorted(by_dataset) == rows else 1)
PY
