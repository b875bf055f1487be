"""Compressed tars, unpacked once into a cache folder so that members can be read by offset."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from stores.backends import is_temporary, new_version
from stores.sources.paths import DamagedArchiveError, SourceError


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
READ_BYTES = 128 * 1024  # what a stream of damaged data would give is lost with the read that finds the damage
DAMAGE_SUFFIX = ".damage"
# Images hardly compress: what unpacks to so much more than it is fills the disk with something else.
MAX_RATIO, FREE_BYTES = 100, 4 * 1024**3
STALE_SECONDS = 600.0
MIN_FREE_BYTES, ROOM_CHECK_BYTES = 1024**3, 64 * 1024**2


def is_compressed(path: Path) -> bool:
    """Whether the name says that the tar is compressed."""
    return path.suffix.lower() in OPENERS


def unpacked(path: Path, cache: str | None) -> Path:
    """The uncompressed copy of a tar in the folder `cache`, made when it is not there.

    The copy's name holds the tar's path, size and time of change, so a changed tar gets a new copy (the old one is
    removed). Of damaged data the copy holds what came before the damage, which `damage_of` names.

    Raises:
        SourceError: no cache folder, no room, or a file that unpacks to far more than images do.
        DamagedArchiveError: nothing can be unpacked.
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
        _sweep(copy.parent)
        _unpack(path, copy)
        for old in (*copy.parent.glob(f"{place}-*.tar"), *copy.parent.glob(f"{place}-*{DAMAGE_SUFFIX}")):
            if old not in (copy, _damage_file(copy)):
                old.unlink(missing_ok=True)
    return copy


def damage_of(copy: Path) -> str | None:
    """What ended the unpacking of a copy early, or None."""
    try:
        return _damage_file(copy).read_text()
    except FileNotFoundError:
        return None


def _damage_file(copy: Path) -> Path:
    return copy.with_suffix(DAMAGE_SUFFIX)


def _unpack(path: Path, copy: Path) -> None:
    """Write the copy under a temporary name and rename it, so that no other process sees half of it."""
    with new_version(copy) as target:
        with OPENERS[path.suffix.lower()](path, "rb") as packed:
            damage = _copy(packed, target, path)
        if damage:
            _damage_file(copy).write_text(damage)


def _sweep(folder: Path) -> None:
    """Remove what processes left that were killed while they unpacked: a living one writes to its file all the time."""
    for entry in os.scandir(folder):
        unfinished = is_temporary(entry.name) or entry.name.endswith(".partial")
        with suppress(FileNotFoundError):
            if unfinished and time.time() - entry.stat().st_mtime > STALE_SECONDS:
                os.unlink(entry.path)


def _copy(packed: Any, target: IO[bytes], path: Path) -> str | None:
    """Unpack until the end, or until damage, whose description is returned."""
    read, limit = getattr(packed, "read1", packed.read), _most_bytes(path)
    done, checked, damage = 0, 0, None
    try:
        while data := read(READ_BYTES):
            done += len(data)
            if done > limit:
                raise SourceError(
                    f"{path}: expected a tar of images; received one that unpacks to more than {limit} bytes, over "
                    f"{MAX_RATIO} times its size; unpack it yourself if that is right"
                )
            if done >= checked:
                _require_room(target.name, path)
                checked = done + ROOM_CHECK_BYTES
            target.write(data)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, pa.ArrowInvalid) as error:
        damage = f"{path}: expected a compressed tar; received damage: {error}; fetch it again"
    except OSError as error:
        # bz2 and Arrow raise a plain OSError for bad data; the system's has a number.
        if error.errno is not None:
            raise SourceError(f"{path}: cannot be unpacked to {target.name}: {error.strerror or error}") from error
        damage = f"{path}: expected a compressed tar; received damage: {error}; fetch it again"
    if damage and not done:
        raise DamagedArchiveError(damage)
    return damage


def _most_bytes(path: Path) -> int:
    return max(FREE_BYTES, MAX_RATIO * path.stat().st_size)


def _require_room(copy: str, path: Path) -> None:
    """Raise SourceError before the disk is full, which would stop other programs too."""
    room = shutil.disk_usage(os.path.dirname(copy)).free
    if room < MIN_FREE_BYTES:
        raise SourceError(
            f"{path}: expected room for its unpacked copy in {os.path.dirname(copy)}; received {room} bytes that are "
            "free; make room, or unpack it elsewhere"
        )
