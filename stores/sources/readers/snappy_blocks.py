"""Parts of a snappy block: compressors cut what they are given into 64 KiB fragments that do not refer to each other.

Format: google/snappy, format_description.txt. The fragments are no part of it but what every compressor of note does;
a block without them is refused here.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import pyarrow as pa

FRAGMENT_BYTES = 1 << 16
# Bytes of a block that are looked at together: between elements of images that do not compress lie 64 KiB.
_WINDOW_BYTES = 1 << 12
# The longest element head: a tag and four bytes.
_HEAD_BYTES = 5


class SnappyBlock(NamedTuple):
    """A snappy block in a file, and where its fragments begin: packed, as offsets in the file, and unpacked.

    Both int64 (fragments + 1,), the last entry being the end.
    """

    packed: np.ndarray
    unpacked: np.ndarray

    def read(self, file: int, start: int, stop: int) -> bytes:
        """The unpacked bytes start to stop - 1; only their fragments are read.

        Raises:
            IndexError: they are not in the block.
            OSError: damage.
        """
        if not 0 <= start <= stop <= self.unpacked[-1]:
            raise IndexError(f"bytes {start} to {stop} of {self.unpacked[-1]}")
        if start == stop:
            return b""
        first = int(np.searchsorted(self.unpacked, start, "right")) - 1
        past = int(np.searchsorted(self.unpacked, stop, "left"))
        packed = read_exactly(file, int(self.packed[first]), int(self.packed[past] - self.packed[first]))
        base, size = int(self.unpacked[first]), int(self.unpacked[past] - self.unpacked[first])
        whole = pa.decompress(_varint(size) + packed, decompressed_size=size, codec="snappy")
        found: bytes = whole[start - base : stop - base].to_pybytes()
        return found


def find_fragments(file: int, start: int, num_bytes: int) -> SnappyBlock:
    """The fragments of the block of so many bytes at an offset of a file; little more than tags is read.

    Raises:
        ValueError, IndexError: a block that does not consist of fragments, or none at all.
        OSError: the file cannot be read.
    """
    end = start + num_bytes
    size, at = _read_varint(read_exactly(file, start, min(_HEAD_BYTES, num_bytes)), start)
    packed, unpacked, out = [at], [0], 0
    window, base = b"", at
    while at < end:
        if at - base + _HEAD_BYTES > len(window):
            window, base = os.pread(file, min(_WINDOW_BYTES, end - at), at), at
        taken, made, distance = _element(window, at - base)
        if distance > out - unpacked[-1]:
            raise ValueError("a fragment refers to the one before")
        at, out = at + taken, out + made
        if out - unpacked[-1] > FRAGMENT_BYTES:
            raise ValueError("an element crosses the end of a fragment")
        if out % FRAGMENT_BYTES == 0 or at >= end:
            packed.append(at)
            unpacked.append(out)
    if (at, out) != (end, size):
        raise ValueError("a block that ends elsewhere than it says")
    return SnappyBlock(np.array(packed), np.array(unpacked))


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Bytes that the element at an offset takes, bytes that it makes, and how far back it copies them from, or 0."""
    tag = data[at]
    kind = tag & 3
    if kind == 0:  # its own bytes; above 60, their number follows in one to four
        extra = max(0, (tag >> 2) - 59)
        length = int.from_bytes(data[at + 1 : at + 1 + extra], "little") + 1 if extra else (tag >> 2) + 1
        return 1 + extra + length, length, 0
    if kind == 1:
        return 2, (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at + 1]
    extra = 2 if kind == 2 else 4
    return 1 + extra, (tag >> 2) + 1, int.from_bytes(data[at + 1 : at + 1 + extra], "little")


def read_exactly(file: int, start: int, num_bytes: int) -> bytes:
    """So many bytes of an open file.

    Raises:
        OSError: it ends before.
    """
    data = os.pread(file, num_bytes, start)
    while len(data) < num_bytes:  # a call reads 2 GiB at most
        more = os.pread(file, num_bytes - len(data), start + len(data))
        if not more:
            raise OSError(f"expected {num_bytes} bytes at {start}; received {len(data)}: the file ends")
        data += more
    return data


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    """The number at the beginning of `data`, and the offset after it, where `data` begins at `start`."""
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, start + place + 1
    raise ValueError("a length without end")
