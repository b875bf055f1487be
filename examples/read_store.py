"""Reads a store in three ways: row by row with zarr alone, summed with dask, and in shuffled batches with the loader.

python examples/read_store.py fae-runs/latents/mine-0123456789ab
"""

import sys

import dask.array
import zarr

from stores import Loader, open_store

store = open_store(sys.argv[1])
name = next(iter(store.arrays))
print(store)

# Any tool that reads Zarr: (rows, views, ...). Rows that were rejected hold NaN; index.parquet says which.
array = zarr.open_group(f"{store.url}/data.zarr", mode="r")[name]
print("zarr  ", array.shape, array.dtype, "row 0 begins with", array[0, 0].reshape(-1)[:3])

# By shards, which are the files: a chunk of dask for each inner chunk of Zarr would be a request for each row.
values = dask.array.from_zarr(array, chunks=array.shards).astype("float32")
print("dask  ", "mean over all rows and views", values.mean().compute())

# Rows by number, each checksum compared, with what index.parquet says of them.
rows = store.rows("train")[:3]
labels, keys = store.labels[rows], store.index["key"].take(rows).to_pylist()
print("read  ", store.read(name, rows).shape, "keys", keys, "labels", labels)

# The next batches of an epoch, as tensors.
loader = Loader(store, (name,), batch_size=min(256, len(store.rows("train"))))
for batch in loader.epoch(0):
    print("loader", tuple(batch[name].shape), batch[name].dtype, "rows", batch["row"][:5].tolist())
