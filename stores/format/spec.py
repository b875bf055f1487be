"""What a stored array looks like to its readers, and which Zarr arrays hold it."""

import math
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

DTYPES = ("float16", "float32", "bfloat16", "int8", "int8_group", "float8_e4m3", "uint8")
# Those of 8 bits with scales in a second array.
SCALED = ("int8", "int8_group", "float8_e4m3")
# Channels that share a scale in int8_group.
GROUP_CHANNELS = 64
# The quiet NaN, as the 16 bits of a bfloat16.
BFLOAT16_NAN = 0x7FC0
_NAME = re.compile(r"[a-z][a-z0-9_]*")


# Chunks of a ragged array hold about so many bytes of tokens.
_CHUNK_BYTES = 64 << 10


@dataclass(frozen=True)
class Part:
    """One Zarr array: shape (rows, views, *row_shape) of a dtype that Zarr knows.

    With `tokens_per_chunk` it holds tokens end to end instead, (tokens, *row_shape[1:]), at most row_shape[0] of them
    for a (row, view).
    """

    name: str
    row_shape: tuple[int, ...]
    dtype: str
    fill: float
    tokens_per_chunk: int | None = None

    @property
    def numpy_dtype(self) -> np.dtype:
        """The dtype of the stored values, little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def record_shape(self) -> tuple[int, ...]:
        """What one checksum covers: the values of a (row, view), or a chunk of tokens."""
        return self.row_shape if self.tokens_per_chunk is None else (self.tokens_per_chunk, *self.row_shape[1:])

    @property
    def record_bytes(self) -> int:
        """Bytes of one record without its checksum."""
        return math.prod(self.record_shape) * self.numpy_dtype.itemsize

    @property
    def row_bytes(self) -> int:
        """Bytes of one (row, view), at most."""
        return math.prod(self.row_shape) * self.numpy_dtype.itemsize

    @property
    def token_bytes(self) -> int:
        """Bytes of one entry along the first axis of `row_shape`."""
        return self.row_bytes // self.row_shape[0]


@dataclass(frozen=True)
class ArraySpec:
    """An array of a store: `row_shape` values of `dtype` for each (row, view), channels last.

    "bfloat16" is stored as its 16 bits (uint16). "int8" is stored as int8 with one float32 scale for each token, in a
    second array `<name>_scale`: value = int8 * scale, scale = largest magnitude of the token / 127. "int8_group" has a
    scale for each 64 channels of a token, so that an outlier coarsens those alone. "float8_e4m3" is stored as its 8
    bits (uint8; arXiv 2209.05433) with one scale for each token: largest magnitude / 448.

    A ragged array (`tokens_per_chunk`, see `ragged`) holds for each (row, view) a sequence of at most row_shape[0]
    tokens, end to end; a further array `<name>_span` has the first token of each and the one past its last.

    Raises:
        ValueError: a name that is no plain lower-case word, an empty shape, or an unknown dtype.
    """

    name: str
    row_shape: tuple[int, ...]
    dtype: str = "float16"
    tokens_per_chunk: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "row_shape", tuple(int(size) for size in self.row_shape))
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"array name: expected lower-case letters, digits and '_'; received {self.name!r}")
        if not self.row_shape or min(self.row_shape) < 1:
            raise ValueError(f"{self.name}: row_shape: expected positive sizes; received {self.row_shape}")
        if self.dtype not in DTYPES:
            raise ValueError(f"{self.name}: dtype: expected one of {', '.join(DTYPES)}; received {self.dtype!r}")
        if self.tokens_per_chunk is not None and (self.tokens_per_chunk < 1 or len(self.row_shape) < 2):
            raise ValueError(
                f"{self.name}: expected a positive tokens_per_chunk and a row_shape of tokens and channels; received "
                f"{self.tokens_per_chunk} and {self.row_shape}"
            )

    @classmethod
    def ragged(cls, name: str, row_shape: tuple[int, ...], dtype: str = "float16") -> "ArraySpec":
        """An array of sequences of at most row_shape[0] tokens, in chunks of about 64 KiB."""
        token_bytes = cls(name, row_shape, dtype).parts[0].token_bytes
        return cls(name, row_shape, dtype, 1 << (max(1, _CHUNK_BYTES // token_bytes).bit_length() - 1))

    @property
    def is_ragged(self) -> bool:
        """Whether rows have sequences of their own lengths."""
        return self.tokens_per_chunk is not None

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The Zarr arrays that hold it; rejected rows hold their fill values, which decode to NaN (0 for uint8)."""
        return (*self.token_parts, *([Part(self.spans, (2,), "int64", -1)] if self.is_ragged else []))

    @cached_property
    def token_parts(self) -> tuple[Part, ...]:
        """Those of them that hold values and scales."""
        chunk = self.tokens_per_chunk
        if self.dtype == "bfloat16":
            return (Part(self.name, self.row_shape, "uint16", BFLOAT16_NAN, chunk),)
        if self.dtype in SCALED:
            scale = Part(f"{self.name}_scale", self.scale_shape, "float32", math.nan, chunk)
            return (Part(self.name, self.row_shape, "uint8" if "float" in self.dtype else "int8", 0, chunk), scale)
        return (Part(self.name, self.row_shape, self.dtype, math.nan if self.is_float else 0, chunk),)

    @property
    def scale_shape(self) -> tuple[int, ...]:
        """The shape of a row's scales, of a dtype that has them."""
        groups = [-(-self.channels // GROUP_CHANNELS)] if self.dtype == "int8_group" else []
        return (*self.row_shape[:-1], *groups)

    @property
    def decoded_dtype(self) -> np.dtype:
        """The dtype of values that are read."""
        return np.dtype("float32" if self.dtype in (*SCALED, "bfloat16") else self.dtype)

    @property
    def spans(self) -> str:
        """The Zarr array that says where each sequence of a ragged array begins and ends."""
        return f"{self.name}_span"

    @property
    def record_bytes(self) -> int:
        """Bytes of one (row, view) in all its parts without checksums; at most, where it is ragged."""
        return sum(part.row_bytes for part in self.parts)

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
        record = {**asdict(self), "row_shape": list(self.row_shape)}
        return record if self.is_ragged else {name: record[name] for name in record if name != "tokens_per_chunk"}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ArraySpec":
        """The spec that `to_json` wrote."""
        chunk = data.get("tokens_per_chunk")
        if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int)):
            raise ValueError(f"tokens_per_chunk: expected a number; received {chunk!r:.80}")
        return cls(data["name"], tuple(data["row_shape"]), data["dtype"], chunk)
