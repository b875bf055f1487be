"""Tables that gzip compressed, unpacked while they are read and never beyond a bound."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import IO

from stores.sources.paths import SourceError

SUFFIX = ".gz"
DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)
MAX_UNPACKED_BYTES = 2**31


def unpacked(file: IO[bytes], path: str) -> IO[bytes]:
    """A table's file as it is, or unpacked where its name says that it is compressed."""
    return io.BufferedReader(_Unpacked(file, path)) if path.lower().endswith(SUFFIX) else file


def without_gz(path: str) -> str:
    """A path without the suffix of gzip."""
    return path[: -len(SUFFIX)] if path.lower().endswith(SUFFIX) else path


class _Unpacked(io.RawIOBase):
    """The content of a gzip file of at most `MAX_UNPACKED_BYTES`."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        super().__init__()
        self._file, self._path = file, path
        self._gzip = gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._gzip.seek(offset, whence)

    def tell(self) -> int:
        return self._gzip.tell()

    def readinto(self, buffer: object) -> int:
        try:
            count = self._gzip.readinto(buffer)  # type: ignore[arg-type]
        except DAMAGE as error:
            raise SourceError(f"{self._path}: expected a whole gzip file; received: {error}; fetch it again") from error
        if self._gzip.tell() > MAX_UNPACKED_BYTES:
            raise SourceError(
                f"{self._path}: expected at most {MAX_UNPACKED_BYTES:,} bytes once unpacked; received more; split it"
            )
        return count

    def close(self) -> None:
        if not self.closed:
            self._gzip.close()
            self._file.close()
        super().close()
