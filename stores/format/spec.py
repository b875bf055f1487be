"""What a stored array looks like to its readers, and which Zarr arrays hold it."""

import math
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

DTYPES = ("float16", "float32", "bfloat16", "int8", "uint8")
# The quiet NaN, as the 16 bits of a bfloat16.
BFLOAT16_NAN = 0x7FC0
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Part:
    """One Zarr array: shape (rows, views, *row_shape) of a dtype that Zarr knows."""

    name: str
    row_shape: tuple[int, ...]
    dtype: str
    fill: float

    @property
    def numpy_dtype(self) -> np.dtype:
        """The dtype of the stored values, little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def record_bytes(self) -> int:
        """Bytes of one (row, view) without its checksum."""
        return math.prod(self.row_shape) * self.numpy_dtype.itemsize


@dataclass(frozen=True)
class ArraySpec:
    """An array of a store: `row_shape` values of `dtype` for each (row, view), channels last.

    "bfloat16" is stored as its 16 bits (uint16). "int8" is stored as int8 with one float32 scale for each token, in a
    second array `<name>_scale`: value = int8 * scale, scale = largest magnitude of the token / 127.

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

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The Zarr arrays that hold it; rejected rows hold their fill values, which decode to NaN (0 for uint8)."""
        if self.dtype == "bfloat16":
            return (Part(self.name, self.row_shape, "uint16", BFLOAT16_NAN),)
        if self.dtype == "int8":
            scale = Part(f"{self.name}_scale", self.row_shape[:-1], "float32", math.nan)
            return (Part(self.name, self.row_shape, "int8", 0), scale)
        return (Part(self.name, self.row_shape, self.dtype, math.nan if self.is_float else 0),)

    @property
    def record_bytes(self) -> int:
        """Bytes of one (row, view) in all its parts, without checksums."""
        return sum(part.record_bytes for part in self.parts)

    @property
    def channels(self) -> int:
        """The last axis, over which statistics are kept apart."""
        return self.row_shape[-1]

    @property
    def is_float(self) -> bool:
        """Whether it stands for real numbers, which may be NaN or infinite and are therefore checked."""
        return self.dtype != "uint8"

    @property
    def given_dtype(self) -> np.dtype:
        """A dtype in which values may be given to a writer."""
        return np.dtype("float16" if self.is_float else "uint8")

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON values."""
        return {**asdict(self), "row_shape": list(self.row_shape)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ArraySpec":
        """The spec that `to_json` wrote."""
        return cls(name=data["name"], row_shape=tuple(data["row_shape"]), dtype=data["dtype"])
