"""An .npz written piece by piece is the one that np.load reads, whole or not there."""

import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.npz import write_npz


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.sampled_from(["uint8", "float16", "float32", "int64"]))
def test_parts_become_one_array(tmp_path_factory, sizes, dtype):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    parts = [np.arange(size * 6).reshape(size, 2, 3).astype(dtype) for size in sizes]
    write_npz(path, {"arr_0": (sum(sizes), iter(parts)), "arr_1": (2, [np.array([3, -1])])})
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["arr_0"], np.concatenate(parts))
        assert archive["arr_0"].dtype == dtype
        assert archive["arr_1"].tolist() == [3, -1]


def test_the_same_bytes_every_time_and_uncompressed(tmp_path):
    for name in ("a", "b"):
        write_npz(tmp_path / name, {"arr_0": (4, [np.zeros((4, 8), np.uint8)])})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert archive.testzip() is None
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED


def test_a_failure_leaves_nothing(tmp_path):
    def parts():
        yield np.zeros((1, 2))
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        write_npz(tmp_path / "a.npz", {"arr_0": (2, parts())})
    assert not list(tmp_path.iterdir())
