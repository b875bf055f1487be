"""Which values an array's dtype cannot hold, checked before they are written, with what would hold them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stores.format import SCALED, ArraySpec, decode, encode

# Up to here float64, in which numbers are compared, holds every integer.
_LARGEST_WHOLE = 2.0**53
_EXACT_DTYPES = ("uint8", "float16", "float32")


@dataclass(frozen=True)
class Refusal:
    """The first value that does not fit.

    Attributes:
        row: its row among those that were checked.
        why: what was expected, what was received, and what to do.
    """

    row: int
    why: str


def check_finite(given: np.ndarray, made: np.ndarray, spec: ArraySpec) -> Refusal | None:
    """Find a value that is not finite, or that is beyond the range of a dtype of floating point.

    Args:
        given: values as they came, (rows, 1 or views, *row_shape).
        made: the same as float32 or uint8, (rows, views, *row_shape).
        spec: how they are stored.
    """
    bad = np.argwhere(~np.isfinite(given))
    if len(bad):
        value = given[tuple(bad[0])]
        return Refusal(
            int(bad[0][0]), f"expected a finite value; received {value}; put a number there and add it again"
        )
    if not spec.is_float:
        return None
    bad = np.argwhere(~np.isfinite(_stored(made, spec)))
    if not len(bad):
        return None
    value = _at(given, made, bad[0])
    fits = spec.dtype != "float32" and abs(float(value)) <= float(np.finfo(np.float32).max)
    advice = "choose the dtype float32" if fits else "no dtype of a store holds it: scale the values"
    return Refusal(int(bad[0][0]), f"expected a value within the range of {spec.dtype}; received {value}; {advice}")


def check_whole(given: np.ndarray, made: np.ndarray, spec: ArraySpec) -> Refusal | None:
    """Find a whole number, or a number for whole ones, that would change; the same arguments as `check_finite`."""
    if given.dtype.kind == "f" and spec.is_float:
        return None
    stored = made if spec.dtype == "bfloat16" else _stored(made, spec)
    bad = np.argwhere((stored != given) | (np.abs(made) >= _LARGEST_WHOLE))
    if not len(bad):
        return None
    value = _at(given, made, bad[0])
    holding = [dtype for dtype in _EXACT_DTYPES if dtype != spec.dtype and _holds(dtype, value)]
    advice = "no dtype of a store holds it: split it into smaller numbers, or keep it in a table beside the store"
    if holding or value.dtype.kind == "f":
        advice = f"choose the dtype {' or '.join(holding or ['float32'])}"
    return Refusal(int(bad[0][0]), f"expected numbers that {spec.dtype} holds exactly; received {value}; {advice}")


def _stored(made: np.ndarray, spec: ArraySpec) -> np.ndarray:
    """What is read of them; dtypes with scales round by design and hold what float32 does."""
    if spec.dtype in SCALED:
        return made
    return decode(spec, encode(spec, made))


def _at(given: np.ndarray, made: np.ndarray, place: np.ndarray) -> Any:
    return np.broadcast_to(given, made.shape)[tuple(place)]


def _holds(dtype: str, value: Any) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return abs(float(value)) < _LARGEST_WHOLE and bool(np.asarray(value).astype(dtype) == value)
