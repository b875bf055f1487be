"""The files of a store are plain Zarr v3: zarr-python, dask and TensorStore read the same values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import zarr

from stores import ArraySpec, Store

SPECS = [ArraySpec("features", (2, 2, 4)), ArraySpec("pixels", (4, 4, 3), "uint8"), ArraySpec("moments", (6,), "int8")]


def read_with_zarr(folder: Path) -> np.ndarray:
    return zarr.open_array(folder, mode="r")[:]


def read_with_dask(folder: Path) -> np.ndarray:
    return dask.array.from_zarr(zarr.open_array(folder, mode="r")).compute(scheduler="synchronous")


def read_with_tensorstore(folder: Path) -> np.ndarray:
    tensorstore = pytest.importorskip("tensorstore", reason="tensorstore is not installed (pip install tensorstore)")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}}
    return tensorstore.open(spec, read=True).result().read().result()


@pytest.fixture
def mixed(make_writer: Any, fill: Any) -> Store:
    writer = make_writer(arrays=SPECS)
    fill(writer, rejected={40: "broken"})
    return writer.finalize(max_rejected=0.1)


@pytest.mark.parametrize("read", [read_with_zarr, read_with_dask, read_with_tensorstore])
def test_another_reader_sees_the_same_values(mixed: Store, read: Callable[[Path], np.ndarray]) -> None:
    found = {part.name: read(mixed.path / "data.zarr" / part.name) for part in mixed.manifest.parts}
    rows = mixed.rows()
    for view in range(2):
        for name in ("features", "pixels"):
            assert found[name].dtype == mixed.arrays[name].dtype
            assert np.array_equal(found[name][rows, view], mixed.read(name, rows, view))
        moments = found["moments"].astype(np.float32) * found["moments_scale"][..., None]
        assert np.array_equal(moments[rows, view], mixed.read("moments", rows, view))
    assert np.isnan(found["features"][40]).all()
    assert np.isnan(found["moments_scale"][40]).all()
    assert not found["pixels"][40].any()


def test_a_flipped_bit_is_an_error_in_zarr_too(mixed: Store) -> None:
    path = mixed.path / "data.zarr/features/c/0/0/0/0/0"
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"checksum"):
        read_with_zarr(mixed.path / "data.zarr/features")


def test_bfloat16_says_what_its_bits_mean(make_writer: Any, fill: Any) -> None:
    writer = make_writer(arrays=[ArraySpec("features", (2, 2, 4), "bfloat16")])
    fill(writer)
    store = writer.finalize()
    array = zarr.open_array(store.path / "data.zarr/features", mode="r")
    assert array.dtype == np.uint16
    assert array.attrs["dtype"] == "bfloat16"
    values = (array[:, 1].astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(values, store.read("features", range(50), 1))
