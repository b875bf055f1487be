"""Values to stored parts and back, for every dtype of a store."""

from collections.abc import Mapping

import numpy as np

from stores.format.spec import ArraySpec

Parts = dict[str, np.ndarray]
_INT8_LARGEST = 127


def encode(spec: ArraySpec, values: np.ndarray) -> Parts:
    """The arrays that are stored for values (..., *row_shape); what a dtype cannot hold becomes infinite or NaN.

    The result may share memory with `values`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if spec.dtype == "bfloat16":
            return {spec.name: _to_bfloat16(np.ascontiguousarray(values, np.float32))}
        if spec.dtype == "int8":
            quantized, scale = _to_int8(np.asarray(values, np.float32))
            return {spec.parts[0].name: quantized, spec.parts[1].name: scale}
        return {spec.name: np.ascontiguousarray(values, spec.parts[0].numpy_dtype)}


def decode(spec: ArraySpec, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """The values of stored parts: float32 for bfloat16 and int8, else the stored dtype."""
    stored = parts[spec.name]
    if spec.dtype == "bfloat16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    if spec.dtype == "int8":
        scale = parts[spec.parts[1].name][..., None]  # (..., 1)
        values: np.ndarray = np.multiply(stored, scale, dtype=np.float32)
        return values
    return stored


def _to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper 16 bits of each float32, rounded to nearest, ties to even; NaN stays NaN."""
    bits = values.view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    # Rounding the payload of a NaN could carry over into the sign.
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def _to_int8(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric quantization of each token (the last axis) by its largest magnitude; an all-zero token has scale 0."""
    scale = np.abs(values).max(axis=-1) / np.float32(_INT8_LARGEST)
    finite = np.where(np.isfinite(scale) & (scale > 0), scale, np.float32(1))
    steps = np.rint(np.nan_to_num(values / finite[..., None], posinf=0, neginf=0))
    return steps.clip(-_INT8_LARGEST, _INT8_LARGEST).astype(np.int8), scale.astype("<f4")
