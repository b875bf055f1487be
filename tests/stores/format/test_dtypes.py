"""Values to stored parts and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stores import ArraySpec, Loader, NonFiniteError, StoreWriter, new_index
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


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "int8_group", "float8_e4m3", "float32"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_found_in_every_dtype(make_writer, dtype: str, bad: float) -> None:
    writer = make_writer(arrays=[ArraySpec("features", (2, 2, 4), dtype)])
    values = np.ones((8, 2, 2, 2, 4), np.float32)
    values[6, 1, 1, 0, 2] = bad
    with pytest.raises(NonFiniteError, match=r"row 6, view 1, channel 2"):
        writer.write_shard(0, {"features": values})
    writer.write_shard(0, {"features": values}, rejected={6: "not finite"})
    assert writer.missing_shards()[0] == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "int8_group", "float8_e4m3", "float16", "float32", "uint8"])
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


@given(arrays(np.float32, (3, 7), elements=st.floats(-500, 500, width=32)))
def test_float8_is_torchs_of_what_is_left_of_a_scale(values: np.ndarray) -> None:
    spec = ArraySpec("a", (7,), "float8_e4m3")
    parts = encode(spec, values)
    scale = np.abs(values).max(-1) / np.float32(448)
    steps = torch.from_numpy(values / np.where(scale > 0, scale, 1)[:, None]).clamp(-448, 448)
    theirs = steps.to(torch.float8_e4m3fn)
    assert np.array_equal(parts["a_scale"], scale)
    assert np.array_equal(parts["a"] & 127, theirs.view(torch.uint8).numpy() & 127)
    np.testing.assert_array_equal(decode(spec, parts), theirs.float().numpy() * scale[:, None])


def test_every_code_of_e4m3_is_torchs() -> None:
    codes = np.arange(256, dtype=np.uint8)
    spec = ArraySpec("a", (256,), "float8_e4m3")
    found = decode(spec, {"a": codes[None], "a_scale": np.ones(1, np.float32)})[0]
    np.testing.assert_array_equal(found, torch.from_numpy(codes).view(torch.float8_e4m3fn).float().numpy())


@pytest.mark.parametrize("channels", [64, 100, 768, 5])
def test_an_outlier_coarsens_its_group_alone(channels: int) -> None:
    values = np.random.default_rng(0).standard_normal((32, channels)).astype(np.float32)
    values[:, 3] = 300
    errors = {}
    for dtype in ("int8", "int8_group", "float8_e4m3"):
        spec = ArraySpec("a", (channels,), dtype)
        parts = encode(spec, values)
        assert parts["a_scale"].shape == (32, *spec.scale_shape)
        errors[dtype] = np.abs(decode(spec, parts) - values)[:, 64:]
        assert np.abs(decode(spec, parts) - values)[:, 3].max() < 300 / 16
    if channels > 100:
        assert errors["int8"].mean() > 20 * errors["int8_group"].mean()
        assert errors["int8"].mean() > 5 * errors["float8_e4m3"].mean()


@pytest.mark.parametrize("dtype", ["int8", "int8_group", "float8_e4m3"])
@pytest.mark.parametrize("channels", [64, 70])
def test_a_loader_decodes_as_a_reader(tmp_path, dtype: str, channels: int) -> None:
    spec = ArraySpec("features", (2, 2, channels), dtype)
    writer = StoreWriter.create(tmp_path, "features", "x", [spec], new_index(list("abcdef")), {}, permute=False)
    values = np.random.default_rng(0).standard_normal((6, 1, 2, 2, channels)).astype(np.float32)
    writer.write_shard(0, {"features": values})
    store = writer.finalize()
    (batch,) = Loader(store, ("features",), batch_size=6).epoch(0)
    assert batch["features"].dtype == torch.float32
    np.testing.assert_array_equal(batch["features"], store.read("features", batch["row"].numpy()))
