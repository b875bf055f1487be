"""Compressed tars, unpacked once into a cache folder so that members can be read by offset."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from stores.sources.paths import SourceError


def _open_zstd(path: Path, mode: str) -> Any:
    """Arrow reads Zstandard, which this Python's standard library does not."""
    assert mode == "rb"
    return pa.input_stream(str(path), compression="zstd")


OPENERS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".bz2": bz2.open,
    ".tbz2": bz2.open,
    ".xz": lzma.open,
    ".txz": lzma.open,
    ".zst": _open_zstd,
    ".tzst": _open_zstd,
}
COPY_BYTES = 4 * 1024 * 1024


def is_compressed(path: Path) -> bool:
    """Whether the name says that the tar is compressed."""
    return path.suffix.lower() in OPENERS


def unpacked(path: Path, cache: str | None) -> Path:
    """The uncompressed copy of a tar in the folder `cache`, made when it is not there.

    The copy's name holds the tar's path, size and time of change, so a changed tar gets a new copy (the old one is
    removed). Raises `SourceError` without a cache folder and for data that does not unpack.
    """
    if cache is None:
        raise SourceError(
            f"{path}: expected a cache folder with room for the unpacked copy of a compressed tar (its images cannot "
            "be reached one by one); received none; give one, or unpack the tar with gunzip, bunzip2, unxz or unzstd"
        )
    stat = path.stat()
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    copy = Path(cache, f"{place}-{stat.st_size}-{stat.st_mtime_ns}.tar")
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        _unpack(path, copy)
        for old in copy.parent.glob(f"{place}-*.tar"):
            if old != copy:
                old.unlink(missing_ok=True)
    return copy


def _unpack(path: Path, copy: Path) -> None:
    """Write the copy under a temporary name and rename it, so that no other process sees half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=copy.parent, prefix=f"{copy.stem}-", suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as target, OPENERS[path.suffix.lower()](path, "rb") as packed:
            _copy(packed, target, path)
        os.replace(temporary, copy)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _copy(packed: IO[bytes], target: IO[bytes], path: Path) -> None:
    try:
        shutil.copyfileobj(packed, target, COPY_BYTES)
        target.flush()
        os.fsync(target.fileno())
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise SourceError(f"{path}: expected a compressed tar; received damage: {error}; fetch it again") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be unpacked to {target.name}: {error.strerror or error}") from error
