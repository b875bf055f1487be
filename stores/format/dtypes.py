"""Values to stored parts and back, for every dtype of a store."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stores.format.spec import GROUP_CHANNELS, SCALED, ArraySpec

Parts = dict[str, np.ndarray]
_LARGEST = {"int8": 127, "int8_group": 127, "float8_e4m3": 448}
# Fewest bytes first; float32 holds whatever an encoder gives.
CANDIDATES = ("int8", "float8_e4m3", "int8_group", "float16", "bfloat16", "float32")
# The share of a channel's deviation that rounding may be wrong by; tests/bench/dtypes.py measures what it costs.
MOST_ERROR = 0.03
# A channel whose deviation is below this share of the median one's is dead.
DEAD_CHANNEL = 1e-3
# The smallest normal number of e4m3 and the step of those below it.
_E4M3_NORMAL, _E4M3_STEP = 2.0**-6, 2.0**-9


def encode(spec: ArraySpec, values: np.ndarray) -> Parts:
    """The arrays that are stored for values (..., *row_shape); what a dtype cannot hold becomes infinite or NaN.

    The result may share memory with `values`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if spec.dtype == "bfloat16":
            return {spec.name: _to_bfloat16(np.ascontiguousarray(values, np.float32))}
        if spec.dtype in SCALED:
            quantized, scale = _quantized(spec.dtype, np.asarray(values, np.float32))
            return {spec.parts[0].name: quantized, spec.parts[1].name: scale}
        return {spec.name: np.ascontiguousarray(values, spec.parts[0].numpy_dtype)}


def decode(spec: ArraySpec, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """The values of stored parts: float32 for bfloat16 and the dtypes of 8 bits, else the stored dtype."""
    stored = parts[spec.name]
    if spec.dtype == "bfloat16":
        bits = stored.astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    if spec.dtype in SCALED:
        return _scaled(spec.dtype, stored, parts[spec.parts[1].name])
    return stored


def _scaled(dtype: str, stored: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """float32 products of steps and scales; beside them no other array of their size is made."""
    if dtype == "float8_e4m3":
        values: np.ndarray = _E4M3[stored]
        values *= scale[..., None]
        return values
    if dtype == "int8":
        return np.asarray(np.multiply(stored, scale[..., None], dtype=np.float32))
    values = np.empty(stored.shape, np.float32)
    for group, start in enumerate(range(0, stored.shape[-1], GROUP_CHANNELS)):
        channels = slice(start, start + GROUP_CHANNELS)
        np.multiply(stored[..., channels], scale[..., group, None], out=values[..., channels], dtype=np.float32)
    return values


@dataclass(frozen=True)
class DtypeChoice:
    """A number format picked by what rounding costs.

    Attributes:
        dtype: the picked one.
        errors: of each format considered, the root mean square error in standard deviations of a channel (the mean
            over channels); None where a value is beyond its range.
        bound: the error that was allowed.
        tokens: how many vectors were measured.
    """

    dtype: str
    errors: dict[str, float | None]
    bound: float
    tokens: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def choose_dtype(tokens: np.ndarray, bound: float = MOST_ERROR) -> DtypeChoice:
    """The number format of the fewest bytes whose error is within the bound, measured on vectors (n, C).

    int8 is the finest of 8 bits where no channel stands out; float8 keeps its 2.6 % whatever the others' magnitudes.
    """
    exact = np.asarray(tokens, np.float32)
    variance = exact.var(axis=0, dtype=np.float64)
    varies = variance > (DEAD_CHANNEL**2) * np.median(variance)  # of a dead channel no share says anything
    errors: dict[str, float | None] = {}
    for dtype in CANDIDATES:
        spec = ArraySpec("tokens", (exact.shape[1],), dtype)
        rounded = decode(spec, encode(spec, exact)).astype(np.float64)
        squares = np.square(rounded - exact).mean(axis=0)[varies] / variance[varies]
        error = float(np.sqrt(squares.mean())) if varies.any() else 0.0
        errors[dtype] = error if np.isfinite(error) else None
        if np.isfinite(error) and error <= bound:
            break
    return DtypeChoice(dtype, errors, bound, len(exact))


def _to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper 16 bits of each float32, rounded to nearest, ties to even; NaN stays NaN."""
    bits = values.view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    # Rounding the payload of a NaN could carry over into the sign.
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def _quantized(dtype: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps and scales of each token (the last axis) or group by its largest magnitude; zeros have scale 0."""
    scale = _largest(dtype, values) / np.float32(_LARGEST[dtype])
    finite = np.where(np.isfinite(scale) & (scale > 0), scale, np.float32(1))
    steps = np.nan_to_num(values / _of_channels(dtype, finite, values.shape[-1]), posinf=0, neginf=0)
    if dtype == "float8_e4m3":
        return _to_e4m3(steps), scale.astype("<f4")
    return np.rint(steps).clip(-_LARGEST[dtype], _LARGEST[dtype]).astype(np.int8), scale.astype("<f4")


def _largest(dtype: str, values: np.ndarray) -> np.ndarray:
    """The largest magnitude of each token (...,), or of each group of its channels (..., groups)."""
    if dtype != "int8_group":
        return np.asarray(np.abs(values).max(axis=-1))
    return np.asarray(np.maximum.reduceat(np.abs(values), np.arange(0, values.shape[-1], GROUP_CHANNELS), axis=-1))


def _of_channels(dtype: str, scale: np.ndarray, channels: int) -> np.ndarray:
    """Scales (...,) as (..., 1), or of groups (..., groups) as (..., channels)."""
    if dtype != "int8_group":
        return scale[..., None]
    return np.repeat(scale, GROUP_CHANNELS, axis=-1)[..., :channels]


def _to_e4m3(values: np.ndarray) -> np.ndarray:
    """The 8 bits of e4m3 numbers within ±448, rounded to nearest, ties to even (arXiv 2209.05433, table 1)."""
    size = np.ascontiguousarray(np.minimum(np.abs(values), np.float32(_LARGEST["float8_e4m3"])))
    bits = size.view(np.uint32)
    # 4 bits of the exponent, whose bias is 7 and not 127, and 3 of the mantissa.
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) >> 20).astype(np.int64) - ((127 - 7) << 3)
    code = np.where(size < _E4M3_NORMAL, np.rint(size / np.float32(_E4M3_STEP)), normal).astype(np.uint8)
    return np.asarray(code | (np.signbit(values).astype(np.uint8) << 7))


def _e4m3_values() -> np.ndarray:
    """float32 (256,): the number of each code; NaN for the two that are none."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    size = np.where(exponent == 0, mantissa * _E4M3_STEP, np.where(code & 127 == 127, np.nan, normal))
    return np.where(code < 128, size, -size).astype(np.float32)


_E4M3 = _e4m3_values()
