#!/usr/bin/env bash
# VirtualiZarr opens a Zarr array with chunk keys "c.0.0" as an array without any chunk: all values are the fill value.
#
# Versions: VirtualiZarr 2.5.1, zarr 3.1.6, xarray 2026.9.0, obstore 0.12.1, arro3-core 0.9.1, Python 3.11.
# Use:      open_virtual_dataset(url, parser=ZarrParser(), …) on an array with
#           chunk_key_encoding={"name": "default", "separator": "."}, which the Zarr 3 specification offers beside "/".
# Expected: the references of all chunks, as with "/"; or an error.
# Happens:  the chunks are listed below the folder "c/" only. With "." there is none, which is a valid array whose chunks
#           were never written: the manifest is empty, and every value reads as the fill value, with no warning.
# Output seen:
#   separator "/": 4 chunks, first row [0. 1. 2. 3.]
#   separator ".": 0 chunks, first row [-1. -1. -1. -1.]
# What helps: the separator "/".
#
# Ends with 0 while it is so, with 1 once the chunks are found, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile \
    virtualizarr==2.5.1 zarr==3.1.6 xarray==2026.9.0 obstore==0.12.1 arro3-core==0.9.1 obspec-utils==0.9.0 || exit 2
"$work/venv/bin/python" - "$work" <<'PY'
import sys
import warnings

import numpy as np
import zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from virtualizarr import open_virtual_dataset
from virtualizarr.parsers import ZarrParser

warnings.simplefilter("error", UserWarning)
values = np.arange(32, dtype="float32").reshape(8, 4)
registry = ObjectStoreRegistry({"file://": LocalStore()})
chunks, firsts = {}, {}
for name, separator in [("slash", "/"), ("dot", ".")]:
    path = f"{sys.argv[1]}/{name}"
    array = zarr.create_group(path).create_array(
        "features",
        shape=values.shape,
        chunks=(2, 4),
        dtype="float32",
        compressors=None,
        fill_value=-1.0,
        dimension_names=("row", "channel"),
        chunk_key_encoding={"name": "default", "separator": separator},
    )
    array[:] = values
    assert (zarr.open_array(f"{path}/features", mode="r")[:] == values).all()

    def open_features(**options):
        return open_virtual_dataset(f"file://{path}", registry=registry, parser=ZarrParser(), **options)["features"]

    chunks[name] = len(open_features(loadable_variables=[]).data.manifest.dict())
    firsts[name] = open_features(loadable_variables=["features"]).values[0]
    print(f'separator "{separator}": {chunks[name]} chunks, first row {firsts[name]}')
sys.exit(0 if chunks == {"slash": 4, "dot": 0} and (firsts["dot"] == -1).all() else 1)
PY
