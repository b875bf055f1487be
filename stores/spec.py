"""What one stored array looks like."""

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

DTYPES = ("float16", "float32", "uint8")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class ArraySpec:
    """An array of a store: `row_shape` values of `dtype` for each (row, view), channels last.

    Raises:
        ValueError: a name that is no plain lower-case word, an empty shape, or an unknown dtype.
    """

    name: str
    row_shape: tuple[int, ...]
    dtype: str = "float16"

    def __post_init__(self) -> None:
        object.__setattr__(self, "row_shape", tuple(int(size) for size in self.row_shape))
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"array name: expected lower-case letters, digits and '_'; received {self.name!r}")
        if not self.row_shape or min(self.row_shape) < 1:
            raise ValueError(f"{self.name}: row_shape: expected positive sizes; received {self.row_shape}")
        if self.dtype not in DTYPES:
            raise ValueError(f"{self.name}: dtype: expected one of {', '.join(DTYPES)}; received {self.dtype!r}")

    @property
    def numpy_dtype(self) -> np.dtype:
        """The dtype of the stored values, little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def record_bytes(self) -> int:
        """Bytes of one (row, view) without its checksum."""
        return math.prod(self.row_shape) * self.numpy_dtype.itemsize

    @property
    def channels(self) -> int:
        """The last axis, over which statistics are kept apart."""
        return self.row_shape[-1]

    @property
    def is_float(self) -> bool:
        """Whether values may be NaN or infinite, and are therefore checked."""
        return self.numpy_dtype.kind == "f"

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON values."""
        return {**asdict(self), "row_shape": list(self.row_shape)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ArraySpec":
        """The spec that `to_json` wrote."""
        return cls(name=data["name"], row_shape=tuple(data["row_shape"]), dtype=data["dtype"])
