"""Bytes of tar members by their offset; a compressed tar is read through a copy unpacked once."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from stores.sources.paths import SourceError, below_root, read_error
from stores.sources.readers.folder import MAX_IMAGE_BYTES, check_size
from stores.sources.readers.members import DAMAGED, Contents, list_members
from stores.sources.readers.unpack import damage_of, is_compressed, unpacked
from stores.sources.recent import Recent

MAX_OPEN_TARS = 64


class _Descriptor:
    """A read-only file descriptor that closes when its last user lets go."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.number)


class TarReader:
    """Members of the tars below a root.

    A compressed tar is unpacked once into the folder `cache`, since nothing inside it can be reached by offset; its
    offsets are those in the unpacked tar.
    """

    def __init__(self, root: str, cache: str | None, follow_links: bool) -> None:
        self._root, self._cache, self._follow_links = root, cache, follow_links
        self._open = Recent(self._descriptor, MAX_OPEN_TARS)
        # Texts beside images are read by the million, one tar after the other.
        self._last: tuple[str, _Descriptor] | None = None

    def contents(self, source: str) -> Contents:
        """Every member of a tar that is whole."""
        plain = self._plain_tar(source)
        contents = list_members(plain, Path(self._root, source))
        if damage := damage_of(plain):
            contents.problems.add(DAMAGED, damage)
        return contents

    def read(self, source: str, offset: int, num_bytes: int, most: int = MAX_IMAGE_BYTES) -> bytes:
        """`num_bytes` from `offset` of a tar.

        Raises:
            SourceError: fewer bytes are there, or more than `most` are asked for.
        """
        if offset < 0 or not 0 <= num_bytes <= most:
            where = self._where(source, offset)
            raise SourceError(f"{where}: expected an offset ≥ 0 and a size up to {most}; received {num_bytes}")
        try:
            data = pread(self._opened(source).number, num_bytes, offset)
        except OSError as error:
            raise read_error(self._where(source, offset), error) from error
        return data if len(data) == num_bytes else check_size(data, num_bytes, self._where(source, offset))

    def _opened(self, source: str) -> _Descriptor:
        last = self._last
        if last is None or last[0] != source:
            last = self._last = source, self._open.get(source)
        return last[1]

    def _where(self, source: str, offset: int) -> str:
        return f"{self._root}/{source}, byte {offset}"

    def _plain_tar(self, source: str) -> Path:
        path = below_root(self._root, source, self._follow_links)
        return unpacked(path, self._cache) if is_compressed(path) else path

    def _descriptor(self, source: str) -> _Descriptor:
        return _Descriptor(self._plain_tar(source))


def pread(descriptor: int, num_bytes: int, offset: int) -> bytes:
    """Up to `num_bytes` from `offset`, fewer only at the end of the file (one call may return less than asked)."""
    data = os.pread(descriptor, num_bytes, offset)
    while len(data) < num_bytes and (more := os.pread(descriptor, num_bytes - len(data), offset + len(data))):
        data += more
    return data
