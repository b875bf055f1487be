"""Channel sums of a shard: float16 takes a fast way that must give what the plain one gives, bit for bit."""

import numpy as np
import pytest

from stores.format.dtypes import encode
from stores.format.spec import ArraySpec
from stores.format.stats import channel_sums

ROWS, VIEWS = 5, 2


def _plain(values: np.ndarray, ok: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of (rows, views, ..., C) in float64, a run of ok rows and a block of tokens at a time."""
    sums, squares = np.zeros(values.shape[-1]), np.zeros(values.shape[-1])
    runs = np.split(np.arange(len(ok)), np.flatnonzero(np.diff(ok)) + 1)
    for run in (run for run in runs if ok[run[0]]):
        tokens = values[run].reshape(-1, values.shape[-1]).astype(np.float64)
        for start in range(0, len(tokens), step):
            block = tokens[start : start + step]
            sums += block.sum(axis=0)
            squares += np.einsum("mc,mc->c", block, block)
    return sums, squares


@pytest.mark.parametrize("channels", [1, 32, 1536])
def test_float16_sums_equal_plain_float64_sums_bit_for_bit(channels: int) -> None:
    spec = ArraySpec("features", (7, 7, channels))
    values = np.random.default_rng(0).standard_normal((ROWS, VIEWS, 7, 7, channels), np.float32)
    values[0] *= 1e-6  # subnormal float16
    values[1] *= 15000  # squares beyond 2^32
    values[2, 0, 0, 0] = 0
    stored = encode(spec, np.clip(values, -65504, 65504))
    ok = np.array([True, True, False, True, True])
    found = channel_sums(spec, stored, ok)
    sums, squares = _plain(stored["features"], ok, max(1, 65536 // channels))
    assert found.count == 4 * VIEWS * 49
    np.testing.assert_array_equal(found.sums, sums)
    np.testing.assert_array_equal(found.squares, squares)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_shows_in_its_channel_alone(bad: float) -> None:
    spec = ArraySpec("features", (4, 8))
    values = np.ones((ROWS, VIEWS, 4, 8), np.float16)
    values[3, 1, 2, 5] = bad
    found = channel_sums(spec, {"features": values}, np.ones(ROWS, bool))
    assert np.flatnonzero(~np.isfinite(found.sums)).tolist() == [5]
    assert (found.sums[:5] == ROWS * VIEWS * 4).all()
