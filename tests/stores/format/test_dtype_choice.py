"""Number formats picked by their errors: the fewest bytes within the bound, each error said."""

import numpy as np
import pytest

from stores.format.dtypes import choose_dtype


def tokens(outliers: int = 0, scale: float = 1.0) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((256, 384)).astype(np.float32) * scale
    values[:, :outliers] *= 100
    return values


@pytest.mark.parametrize(
    ("outliers", "scale", "offset", "expected"),
    [
        (0, 1, 0, "int8"),
        (2, 1, 0, "float8_e4m3"),
        (60, 1, 0, "float8_e4m3"),
        (0, 1e6, 0, "int8"),
        (0, 1, 1000, "float32"),
        (0, 0, 3, "int8"),
    ],
)
def test_the_fewest_bytes_within_the_bound_are_chosen(
    outliers: int, scale: float, offset: float, expected: str
) -> None:
    values = tokens(outliers, scale) + np.float32(offset)
    choice = choose_dtype(values)
    assert choice.dtype == expected
    assert list(choice.errors)[-1] == expected
    assert choice.errors[expected] is not None
    assert choice.errors[expected] <= choice.bound
    assert all(error is None or error > choice.bound for name, error in choice.errors.items() if name != expected)
    assert choice.tokens == len(values)


def test_values_beyond_a_range_have_no_error() -> None:
    values = tokens()
    values[:, ::64] = np.random.default_rng(1).standard_normal((256, 6)) * 1e7
    choice = choose_dtype(values, bound=0.004)
    assert choice.errors["float16"] is None
    assert choice.dtype == "bfloat16"


def test_a_tighter_bound_takes_a_finer_format() -> None:
    assert choose_dtype(tokens(outliers=2), bound=0.02).dtype == "float16"
    assert choose_dtype(tokens(), bound=0.006).dtype == "int8_group"


def test_a_dead_channel_does_not_count() -> None:
    values = tokens()
    values[:, 0] *= 1e-9
    assert choose_dtype(values).dtype == "int8"
