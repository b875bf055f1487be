"""dask reads every array; by shards it asks for each file once."""

from typing import Any

import dask.array
import zarr

from tests.interop.conftest import ROWS, Case, check


def test_reads(case: Case) -> None:
    for part in case.arrays:
        array: Any = zarr.open_array(case.folder / part, mode="r")
        by_shard = dask.array.from_zarr(array, chunks=array.shards)
        assert by_shard.numblocks[0] == -(-ROWS // case.store.manifest.rows_per_shard)
        check(case, part, by_shard.compute(scheduler="synchronous"))
