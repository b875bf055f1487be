"""Values to stored parts and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stores import ArraySpec, NonFiniteError
from stores.format.dtypes import decode, encode

FLOATS = arrays(np.float32, (3, 2, 5), elements=st.floats(-1e6, 1e6, width=32))


@given(arrays(np.float32, (4, 5), elements=st.floats(width=32)))
def test_bfloat16_rounds_as_torch_does(values: np.ndarray) -> None:
    spec = ArraySpec("a", (5,), "bfloat16")
    ours = decode(spec, encode(spec, values))
    theirs = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    assert np.array_equal(ours, theirs, equal_nan=True)


@given(FLOATS)
def test_int8_is_within_half_a_step_of_each_token(values: np.ndarray) -> None:
    spec = ArraySpec("a", (2, 5), "int8")
    parts = encode(spec, values)
    assert parts["a"].dtype == np.int8
    assert parts["a_scale"].shape == (3, 2)
    step = np.abs(values).max(-1, keepdims=True) / 127
    tiny = np.finfo(np.float32).tiny
    assert (np.abs(decode(spec, parts) - values) <= step * 0.5001 + tiny).all()


def test_int8_takes_half_the_bytes_of_float16() -> None:
    spec = {dtype: ArraySpec("a", (16, 16, 768), dtype).record_bytes for dtype in ("float16", "int8")}
    assert spec["int8"] / spec["float16"] == pytest.approx(0.5, abs=0.003)


def test_int8_relative_error_on_normal_values() -> None:
    values = np.random.default_rng(0).standard_normal((64, 768)).astype(np.float32)
    spec = ArraySpec("a", (768,), "int8")
    error = decode(spec, encode(spec, values)) - values
    assert 0.004 < np.sqrt((error**2).mean()) < 0.01


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "float32"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_found_in_every_dtype(make_writer, dtype: str, bad: float) -> None:
    writer = make_writer(arrays=[ArraySpec("features", (2, 2, 4), dtype)])
    values = np.ones((8, 2, 2, 2, 4), np.float32)
    values[6, 1, 1, 0, 2] = bad
    with pytest.raises(NonFiniteError, match=r"row 6, view 1, channel 2"):
        writer.write_shard(0, {"features": values})
    writer.write_shard(0, {"features": values}, rejected={6: "not finite"})
    assert writer.missing_shards()[0] == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "float16", "float32", "uint8"])
def test_statistics_are_of_the_values_not_of_the_bits(make_writer, fill, dtype: str) -> None:
    writer = make_writer(arrays=[ArraySpec("features", (2, 2, 4), dtype)])
    fill(writer, rejected={11: "bad"})
    store = writer.finalize(max_rejected=0.1)
    values = np.stack([store.read("features", store.rows(), view) for view in (0, 1)]).astype(np.float64).reshape(-1, 4)
    found = store.statistics("features")
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.std, values.std(0), rtol=1e-11)
    if dtype != "uint8":
        assert np.isnan(store.read("features", [11], 0)).all()
