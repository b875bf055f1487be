"""An .npz written piece by piece is the one that np.load reads, whole or not there."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.exchange.npz import npz_arrays, npz_parts, write_npz


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


def test_parts_are_read_back_without_the_whole(tmp_path):
    values = np.arange(7 * 2 * 3, dtype=np.uint8).reshape(7, 2, 3)
    np.savez(tmp_path / "a.npz", arr_0=values, mu=np.zeros(4))
    held = npz_arrays(tmp_path / "a.npz")
    assert {name: (array.shape, array.dtype) for name, array in held.items()} == {
        "arr_0": ((7, 2, 3), np.uint8),
        "mu": ((4,), np.float64),
    }
    parts = list(npz_parts(tmp_path / "a.npz", "arr_0", 3))
    assert [len(part) for part in parts] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(parts), values)
    assert all(part.flags.writeable for part in parts)  # torch warns of others


def test_what_is_no_npz_of_numbers_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    np.savez(tmp_path / "a.npz", arr_0=np.zeros((4, 2)))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "short"):
        with pytest.raises(ValueError, match=f"{name}.npz: expected a .npz of arrays"):
            npz_arrays(tmp_path / f"{name}.npz")
    with pytest.raises(ValueError, match="expected plain numbers"):
        npz_arrays(tmp_path / "objects.npz")
    with pytest.raises(ValueError, match=r"a.npz: expected a .npz of arrays; .*arr_1"):
        next(npz_parts(tmp_path / "a.npz", "arr_1", 2))


def test_a_damaged_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", b"no array")
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (9, 2)})
        archive.writestr("short.npy", header.getvalue() + b"1234")
    with pytest.raises(ValueError, match=r"a.npz: a.npy: expected an array as numpy writes it"):
        npz_arrays(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"short: expected 18 bytes of uint8 \(9, 2\); received 4"):
        list(npz_parts(tmp_path / "a.npz", "short", 2))
