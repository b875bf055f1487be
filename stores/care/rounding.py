"""Values rounded within a stated bound, so that an archive of them is much smaller than one of every bit."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stores.format import ArraySpec, decode, encode

# Bits of a mantissa as stored, and in the float32 in which rounding is done.
_MANTISSA_BITS = {"float16": 10, "bfloat16": 7, "float32": 23}


@dataclass(frozen=True)
class Rounding:
    """How far values of an archive may be from the store's; exactly one bound is given.

    Attributes:
        max_error: Largest absolute error. Values become multiples of a power of two, which every float dtype holds.
        max_relative_error: Largest error as a share of the value itself: fewer bits of the mantissa are kept (BitRound,
            Klöwer et al. 2021, doi:10.1038/s43588-021-00156-2).

    Raises:
        ValueError: no bound, both, or one that is not positive.
    """

    max_error: float | None = None
    max_relative_error: float | None = None

    def __post_init__(self) -> None:
        given = [bound for bound in (self.max_error, self.max_relative_error) if bound is not None]
        if len(given) != 1:
            raise ValueError("rounding: expected one of max_error and max_relative_error; received none or both")
        if not 0 < given[0] < math.inf:
            raise ValueError(f"rounding: expected a positive bound of the error; received {given[0]}")
        if self.max_relative_error is not None and self.max_relative_error > 0.25:
            raise ValueError(
                "max_relative_error: expected at most 0.25, one bit of the mantissa; "
                f"received {self.max_relative_error}"
            )

    @property
    def bound(self) -> dict[str, float]:
        """The bound by its name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def rounds(self, spec: ArraySpec) -> bool:
        """Whether an array of this dtype is rounded; bytes and int8 stay as they are."""
        return spec.dtype in _MANTISSA_BITS

    def __call__(self, spec: ArraySpec, values: np.ndarray) -> np.ndarray:
        """Finite values, rounded, in the dtype that `decode` gives.

        Worked out in float32: numcodecs' Quantize makes float16 values of 64 and more infinite.
        """
        rounded = self._rounded(spec, np.ascontiguousarray(values, np.float32))
        return decode(spec, encode(spec, rounded.reshape(values.shape)))

    def _rounded(self, spec: ArraySpec, values: np.ndarray) -> np.ndarray:
        from numcodecs import BitRound, FixedScaleOffset

        if self.max_relative_error is not None:
            keep = max(1, math.ceil(-math.log2(self.max_relative_error)) - 1)
            if keep >= _MANTISSA_BITS[spec.dtype]:
                return values
            codec: Any = BitRound(keepbits=keep)
            return np.asarray(codec.decode(codec.encode(values)))
        assert self.max_error is not None
        # Steps of 2^-n ≤ 2 · bound, and so at most half of that away.
        scale = 2.0 ** math.ceil(-math.log2(2 * self.max_error))
        codec = FixedScaleOffset(offset=0, scale=scale, dtype="<f4", astype="<f4")
        with np.errstate(over="ignore"):  # an infinity is found when the error is measured
            return np.asarray(codec.decode(codec.encode(values)))


@dataclass
class RoundingError:
    """What rounding did to an array, summed over its shards; NaN and infinity count as larger than any bound."""

    bound: dict[str, float]
    max_error: float = 0.0
    max_relative_error: float = 0.0
    squares: float = field(default=0.0, repr=False)
    count: int = field(default=0, repr=False)

    def add(self, original: np.ndarray, rounded: np.ndarray, location: str) -> None:
        """Measure the values of some rows.

        Raises:
            ValueError: the bound is exceeded.
        """
        exact = original.astype(np.float64)
        error = np.nan_to_num(np.abs(rounded.astype(np.float64) - exact), nan=np.inf, posinf=np.inf)
        relative = np.divide(error, np.abs(exact), out=np.where(error > 0, np.inf, 0.0), where=exact != 0)
        found = {"max_error": error.max(initial=0), "max_relative_error": relative.max(initial=0)}
        for name, bound in self.bound.items():
            if found[name] > bound:
                raise ValueError(
                    f"{location}: {name}: expected at most {bound:g}; received {found[name]:g}; "
                    "choose a larger bound or pack without one"
                )
        self.max_error = max(self.max_error, float(found["max_error"]))
        self.max_relative_error = max(self.max_relative_error, float(found["max_relative_error"]))
        self.squares, self.count = self.squares + float(np.square(error).sum()), self.count + error.size

    def to_json(self) -> dict[str, Any]:
        """The bound and what was found: largest error and root mean square; zeros that moved have no relative error."""
        relative = self.max_relative_error if math.isfinite(self.max_relative_error) else None
        found = {"max_error": self.max_error, "max_relative_error": relative}
        return {"bound": self.bound, **found, "rms_error": math.sqrt(self.squares / max(1, self.count))}
