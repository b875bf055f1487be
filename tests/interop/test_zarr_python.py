"""zarr-python reads every array, from a folder and over HTTP byte ranges."""

from typing import Any

import numpy as np
import pytest
import zarr

from tests.interop.conftest import Case, check


def test_reads(case: Case) -> None:
    group: Any = zarr.open_group(case.folder, mode="r")
    assert sorted(group.array_keys()) == sorted(case.arrays)
    for part in case.arrays:
        check(case, part, group[part][:])


def test_reads_by_http(case: Case, case_url: str) -> None:
    obstore = pytest.importorskip("obstore.store")
    from zarr.storage import ObjectStore

    store = ObjectStore(obstore.HTTPStore.from_url(case_url, client_options={"allow_http": True}), read_only=True)
    group: Any = zarr.open_group(store, mode="r")
    for part in case.arrays:
        check(case, part, group[part][:])


def test_names_and_attributes_say_what_an_array_is(case: Case) -> None:
    group: Any = zarr.open_group(case.folder, mode="r")
    sizes: dict[str, int] = {}
    for part, expected in case.arrays.items():
        names = group[part].metadata.dimension_names
        for name, size in zip(names, expected.shape, strict=True):
            assert sizes.setdefault(name, size) == size, f"{name} has two sizes"
        assert group[part].attrs["long_name"]
        assert group[part].attrs["units"] == "1"
    assert group.attrs["fae_store"]["layout_version"] == 2


def test_the_groups_own_metadata_are_those_of_its_arrays(case: Case) -> None:
    apart: Any = zarr.open_group(case.folder, mode="r", use_consolidated=False)
    together: Any = zarr.open_consolidated(case.folder, mode="r")
    assert together.metadata.consolidated_metadata is not None
    for part in case.arrays:
        # As text: a fill value of NaN is unlike itself.
        assert str(together[part].metadata.to_dict()) == str(apart[part].metadata.to_dict())


def test_int8_is_scaled_by_what_its_attributes_name(cases: dict[str, Case]) -> None:
    case = cases["features int8"]
    group: Any = zarr.open_group(case.folder, mode="r")
    scale = group[group["features"].attrs["scale"]]
    values = group["features"][:].astype("f4") * scale[:][..., None]
    rows = case.store.rows()
    np.testing.assert_array_equal(values[rows, 1], case.store.read("features", rows, 1))
