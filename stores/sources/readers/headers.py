"""A quick pass over the headers of ordinary tars, some five times as fast as tarfile; it gives up on anything else.

What it reads is POSIX.1-2001 (pax) and GNU tar's long names: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BLOCK = 512
SPACES = sum(b" " * 8)
# Records that say nothing of a member's name, size or kind.
IDLE_RECORDS = frozenset((b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname", b"comment"))
MAX_EXTRA_BYTES = 64 * 1024
SEARCH_BYTES = 1024 * 1024
MIN_READ_BYTES, MAX_READ_BYTES = 4 * 1024, 256 * 1024


class Header(NamedTuple):
    """One regular file of a tar: its name, and where its bytes lie in the whole file."""

    name: str
    offset: int
    num_bytes: int


class UnusualTar(Exception):
    """A header that only tarfile should judge: damaged, sparse, a link, a global record, a size that is no octal."""


def plain_headers(descriptor: int, start: int, size: int) -> Iterator[Header]:
    """Yield the regular files of the tar that lies at `start` and is `size` bytes long; folders are left out.

    Raises:
        UnusualTar: there is anything but regular files, folders, and records of times or long names.
    """
    position, name, blocks = 0, None, _HeaderBlocks(descriptor, start, size)
    while position != size:
        block, byte_sum = blocks.at(position)
        if byte_sum == 0:
            return
        num_bytes, kind = _checked(block, byte_sum), block[156:157]
        body, position = position + BLOCK, position + BLOCK + (num_bytes + BLOCK - 1) // BLOCK * BLOCK
        if body + num_bytes > size:
            raise UnusualTar
        if kind in (b"x", b"L"):
            name = _long_name(os.pread(descriptor, num_bytes, start + body), kind, name)
            position = min(position, size)
            continue
        if kind in (b"0", b"\0"):
            yield Header(_name(block) if name is None else name, start + body, num_bytes)
        elif kind != b"5":
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
    """Blocks of a tar by their positions, which rise; where members are small, many come with one read."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._start, self._size = descriptor, start, size
        self._first, self._data, self._ahead = 0, b"", MIN_READ_BYTES
        self._byte_sums: list[int] = []

    def at(self, position: int) -> tuple[bytes, int]:
        """The block that begins there, and the sum of its bytes."""
        offset = position - self._first
        if not 0 <= offset <= len(self._data) - BLOCK:
            self._read(position, near=offset < len(self._data) + self._ahead)
            offset = 0
        return self._data[offset : offset + BLOCK], self._byte_sums[offset // BLOCK]

    def _read(self, position: int, near: bool) -> None:
        self._ahead = min(2 * self._ahead, MAX_READ_BYTES) if near else MIN_READ_BYTES
        data = os.pread(self._descriptor, min(self._ahead, self._size - position), self._start + position)
        if len(data) < BLOCK:
            raise UnusualTar
        # All sums at once: one by one they took a fifth of the time of a listing.
        whole = np.frombuffer(data, np.uint8, len(data) // BLOCK * BLOCK).reshape(-1, BLOCK)
        self._byte_sums = whole.sum(axis=1, dtype=np.int64).tolist()
        self._first, self._data = position, data


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


def _name(block: bytes) -> str:
    name = block[:100].split(b"\0", 1)[0]
    # GNU's older format keeps times where POSIX has the beginning of a long name.
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    text = (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")
    if text.endswith("/"):
        raise UnusualTar
    return text


def _long_name(data: bytes, kind: bytes, name: str | None) -> str | None:
    """The name that a record before a header gives to it, or the one known so far."""
    if len(data) > MAX_EXTRA_BYTES:
        raise UnusualTar
    if kind == b"L":
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
