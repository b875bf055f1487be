#!/usr/bin/env bash
# The mean of a float16 array is wrong in dask and in xarray where numpy's is right.
#
# Versions: dask 2026.8.0, xarray 2026.9.0, numpy 2.4.6, Python 3.11.
# Use:      array.mean(axis=0) over the rows of float16 features, the channel means of a store; here 16384 rows of
#           numbers drawn evenly from 0 to 1, whose mean is 0.5.
# Expected: 0.50, as numpy has it: numpy.mean sums float16 in float32, and the documentation of dask's mean repeats that
#           sentence of numpy's.
# Happens:  dask, and xarray unless skipna=False, add up in float16. A sum stops growing once the next number is less
#           than half of its spacing, here at 2048, and the mean is 2048 / 16384. Nothing overflows, so no warning comes
#           (the script turns warnings into errors). xarray over dask counts in float16 too, and finds the mean 1.
# Output seen:
#   numpy                        0.50
#   dask, one chunk              0.12
#   dask, chunks of 4096 rows    0.50
#   xarray                       0.12
#   xarray, skipna=False         0.50
#   xarray over dask             1.00
# What helps: mean(dtype="float32") in dask, astype("float32") before the mean in xarray.
#
# Ends with 0 while it is so, with 1 once all agree, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile "dask[array]==2026.8.0" xarray==2026.9.0 numpy==2.4.6 || exit 2
"$work/venv/bin/python" - <<'PY'
import sys
import warnings

import dask.array as da
import numpy as np
import xarray as xr

warnings.simplefilter("error")
features = np.random.default_rng(0).random((16384, 4)).astype(np.float16)
labeled = xr.DataArray(features, dims=("row", "channel"))
means = {
    "numpy": features.mean(axis=0),
    "dask, one chunk": da.from_array(features, chunks=features.shape).mean(axis=0).compute(),
    "dask, chunks of 4096 rows": da.from_array(features, chunks=(4096, 4)).mean(axis=0).compute(),
    "xarray": labeled.mean("row").values,
    "xarray, skipna=False": labeled.mean("row", skipna=False).values,
    "xarray over dask": labeled.chunk(row=-1).mean("row").values,
}
for title, mean in means.items():
    print(f"{title:28} {float(mean.mean()):.2f}")
in_float32 = da.from_array(features, chunks=features.shape).mean(axis=0, dtype="float32").compute()
assert abs(in_float32 - 0.5).max() < 0.01, in_float32
wrong = [title for title, mean in means.items() if abs(mean - 0.5).max() > 0.05]
sys.exit(0 if wrong == ["dask, one chunk", "xarray", "xarray over dask"] else 1)
PY
