"""A quick pass over the headers of ordinary tars, some five times as fast as tarfile; it gives up on anything else.

What it reads is POSIX.1-2001 (pax) and GNU tar's long names: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[np.uint8]
Sums = NDArray[np.int64]

BLOCK = 512
SPACES = sum(b" " * 8)
# Records that say nothing of a member's name, size or kind.
IDLE_RECORDS = frozenset((b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname", b"comment"))
# Kinds of members: regular files, folders, and records (of pax and GNU tar) before a header.
FILES, FOLDER, LONG_NAMES = b"0\0", ord("5"), b"xL"
# From so many blocks on it is quicker to look at them all at once.
MANY_BLOCKS = 64
EVEN_BYTES = np.uint64(0x00FF00FF00FF00FF)
USTAR = np.frombuffer(b"ustar", np.uint8)
# Where an ordinary header has octal digits: six of the checksum, eleven of the size.
ORDINARY_DIGITS = np.r_[148:154, 124:135]
OCTAL = 8 ** np.arange(10, -1, -1)
MAX_EXTRA_BYTES = 64 * 1024
SEARCH_BYTES = 1024 * 1024
MIN_READ_BYTES, MAX_READ_BYTES = 4 * 1024, 256 * 1024


class UnusualTar(Exception):
    """A header that only tarfile should judge: damaged, sparse, a link, a global record, a size that is no octal."""


def plain_headers(descriptor: int, start: int, size: int) -> Iterator[tuple[str, int, int]]:
    """Yield the regular files of the tar that lies at `start` and is `size` bytes long; folders are left out.

    Yields:
        A file's name, and the offset and the number of its bytes in the whole file.

    Raises:
        UnusualTar: there is anything but regular files, folders, and records of times or long names.
    """
    position, name, blocks = 0, None, _HeaderBlocks(descriptor, start, size)
    while position != size:
        offset = position - blocks.first
        if not 0 <= offset <= blocks.last:
            offset = blocks.read(position)
        num_bytes = blocks.sizes[offset // BLOCK]
        if num_bytes < 0:
            block = blocks.data[offset : offset + BLOCK]
            if not any(block):
                return
            num_bytes = _checked(block, sum(block))
        body, position = position + BLOCK, position + BLOCK + (num_bytes + BLOCK - 1) // BLOCK * BLOCK
        if body + num_bytes > size:
            raise UnusualTar
        kind = blocks.data[offset + 156]
        if kind in LONG_NAMES:
            name = _long_name(os.pread(descriptor, num_bytes, start + body), kind, name)
            position = min(position, size)
            continue
        if kind in FILES:
            yield _name(blocks.data, offset) if name is None else name, start + body, num_bytes
        elif kind != FOLDER:
            raise UnusualTar
        name, position = None, min(position, size)


def next_header(descriptor: int, start: int, position: int, size: int) -> int | None:
    """Where the next header of the tar is at or after `position`, found by its checksum; None: there is none."""
    position = (position + BLOCK - 1) // BLOCK * BLOCK
    while position + BLOCK <= size:
        data = os.pread(descriptor, min(SEARCH_BYTES, size - position), start + position)
        for at in range(0, len(data) - BLOCK + 1, BLOCK):
            if data[at + 257 : at + 262] == b"ustar" and _is_header(data[at : at + BLOCK]):
                return position + at
        if len(data) < BLOCK:
            return None
        position += len(data) // BLOCK * BLOCK
    return None


def _is_header(block: bytes) -> bool:
    try:
        _checked(block, sum(block))
    except UnusualTar:
        return False
    return True


class _HeaderBlocks:
    """Blocks of a tar by their positions, which rise; where members are small, many come with one read.

    Attributes:
        data: the bytes of the last read.
        first: the position of their first block.
        last: where in `data` the last whole block begins.
        sizes: the size that each block gives if it is an ordinary header with the right checksum, else -1; where a read
            has few blocks they are all -1.
    """

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._start, self._size = descriptor, start, size
        self._ahead = MIN_READ_BYTES
        self.data = b""
        self.first, self.last = 0, -1
        self.sizes: list[int] = []

    def read(self, position: int) -> int:
        """Read the block at a position of the tar, and more where the last one was near; where in `data` it begins."""
        near = position - self.first < len(self.data) + self._ahead
        self._ahead = min(2 * self._ahead, MAX_READ_BYTES) if near else MIN_READ_BYTES
        self.data = os.pread(self._descriptor, min(self._ahead, self._size - position), self._start + position)
        count = len(self.data) // BLOCK
        if count == 0:
            raise UnusualTar
        self.first, self.last = position, (count - 1) * BLOCK
        self.sizes = _ordinary_sizes(self.data, count).tolist() if count >= MANY_BLOCKS else [-1] * count
        return 0


def _byte_sums(blocks: Blocks) -> Sums:
    """The sum of the bytes of each of (n, 512) blocks: of eight bytes at once, in lanes of 16 bits.

    A lane holds at most 64 times two bytes, 32,640.
    """
    words = blocks.view(np.uint64)
    lanes = ((words & EVEN_BYTES) + ((words >> 8) & EVEN_BYTES)).sum(axis=1)
    sums: Sums = lanes.view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64)
    return sums


def _ordinary_sizes(data: bytes, count: int) -> Sums:
    """The size that each of the first blocks gives, where it is a header as most programs write it, else -1.

    One by one, their checksums took a fifth of the time of a listing.

    These have "ustar", a checksum of six octal digits, a zero byte and a space, and a size of eleven digits before a
    zero byte or a space.
    """
    blocks = np.frombuffer(data, np.uint8, count * BLOCK).reshape(-1, BLOCK)
    checksum, size = blocks[:, 148:156], blocks[:, 124:136]
    digits = blocks[:, ORDINARY_DIGITS] - ord("0")  # of unsigned bytes: what is below "0" becomes large
    is_ordinary = (
        (blocks[:, 257:262] == USTAR).all(axis=1)
        & (digits < 8).all(axis=1)
        & (checksum[:, 6] == 0)
        & (checksum[:, 7] == ord(" "))
        & ((size[:, 11] == 0) | (size[:, 11] == ord(" ")))
    )
    given = digits[:, :6] @ OCTAL[-6:]
    is_ordinary &= given == _byte_sums(blocks) - checksum.sum(axis=1, dtype=np.int64) + SPACES
    return np.where(is_ordinary, digits[:, 6:] @ OCTAL, -1)


def _checked(block: bytes, byte_sum: int) -> int:
    """The size that a header gives, once its checksum is right."""
    if block[257:262] != b"ustar":
        raise UnusualTar
    # The checksum counts its own field as spaces.
    if _octal(block[148:156]) != byte_sum - sum(block[148:156]) + SPACES:
        raise UnusualTar
    return _octal(block[124:136])


def _octal(field: bytes) -> int:
    try:
        return int(field.rstrip(b"\0 ") or b"0", 8)
    except ValueError as error:
        raise UnusualTar from error


def _name(data: bytes, offset: int) -> str:
    """The name in the header at an offset."""
    name = data[offset : offset + 100].split(b"\0", 1)[0]
    # GNU's older format keeps times where POSIX has the beginning of a long name.
    if data[offset + 345] and data[offset + 257 : offset + 263] == b"ustar\0":
        name = data[offset + 345 : offset + 500].split(b"\0", 1)[0] + b"/" + name
    if name.endswith(b"/"):
        raise UnusualTar
    return name.decode("utf-8", "surrogateescape")


def _long_name(data: bytes, kind: int, name: str | None) -> str | None:
    """The name that a record before a header gives to it, or the one known so far."""
    if len(data) > MAX_EXTRA_BYTES:
        raise UnusualTar
    if kind == ord("L"):
        return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    while data.strip(b"\0"):
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or not len(length) + 3 <= int(length) <= len(data):
            raise UnusualTar
        key, equals, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if not equals or (key != b"path" and key not in IDLE_RECORDS):
            raise UnusualTar
        if key == b"path":
            name = value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
    return name
