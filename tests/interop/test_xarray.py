"""xarray opens every store as one data set, and joins its arrays by the names of their axes."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.interop.conftest import ROWS, Case, check

xarray = pytest.importorskip("xarray", reason="needs the extra interop")


def test_reads(case: Case) -> None:
    with xarray.open_zarr(case.folder, chunks=None) as found:
        assert set(found.data_vars) == set(case.arrays)
        for part in case.arrays:
            check(case, part, found[part].to_numpy())


def test_reads_as_tree(case: Case) -> None:
    with xarray.open_datatree(case.folder, engine="zarr") as tree:
        for part in case.arrays:
            check(case, part, tree[part].to_numpy())


def test_reads_through_dask(case: Case) -> None:
    """Chunks of dask are the inner chunks, a record each."""
    with xarray.open_zarr(case.folder, chunks={}) as found:
        for part in case.arrays:
            check(case, part, found[part].to_numpy())


def test_reads_by_shard(cases: dict[str, Case]) -> None:
    """A task a shard with the rows of one as `chunks`; the mean is that of the store's statistics."""
    case = cases["latents"]
    with xarray.open_zarr(case.folder, chunks={"row": case.store.manifest.rows_per_shard, "view": -1}) as found:
        latents = found.latents
        assert latents.data.npartitions == case.store.manifest.num_shards
        check(case, "latents", latents.to_numpy())
        mean = latents.isel(row=case.store.rows()).mean(
            ["row", "view", "height", "width"], dtype="float32", skipna=False
        )
        np.testing.assert_allclose(mean, case.store.statistics("latents").mean, rtol=1e-4, atol=1e-5)


def test_axes_are_joined_by_their_names(cases: dict[str, Case]) -> None:
    case = cases["features int8"]
    with xarray.open_zarr(case.folder, chunks=None) as found:
        values = (found.features * found.features_scale).transpose("row", "view", "height", "width", "channel")
        rows = case.store.rows()
        np.testing.assert_array_equal(values.to_numpy()[rows, 0], case.store.read("features", rows))
        assert found.pixels.dims == ("row", "view", "y", "x", "rgb")
    with xarray.open_zarr(cases["text"].folder, chunks=None) as found:
        assert found.states.dims == ("row", "caption", "token", "channel")
        assert found.pooled.dims == ("row", "caption", "pooled_channel")


def test_rows_are_joined_with_the_index(cases: dict[str, Case]) -> None:
    case = cases["latents"]
    index = pq.read_table(case.folder.parent / "index.parquet")
    assert index["row"].to_pylist() == list(range(ROWS))
    with xarray.open_zarr(case.folder, chunks=None) as found:
        named = found.assign_coords(row=index["key"].to_pylist(), label=("row", index["label"].to_numpy()))
        one = named.latents.sel(row="image-03").to_numpy()
        row = index["key"].to_pylist().index("image-03")
        np.testing.assert_array_equal(one, case.arrays["latents"][row])
        assert int(named.label.sel(row="image-03")) == 0
