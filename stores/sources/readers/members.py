"""The table of contents of a tar file: where each member's bytes lie, with damaged and malicious tars refused."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from stores.sources.paths import SourceError, is_hidden, is_image, safe_name
from stores.sources.readers.headers import UnusualTar, plain_headers


class Member(NamedTuple):
    """Place of a member's bytes in the archive."""

    offset: int
    num_bytes: int


@dataclass
class Contents:
    """Members of an archive by path, in the order they lie, and what was left out with its reason.

    `inner` are tars inside the tar: their members by the inner tar's name without its suffix.
    """

    members: dict[str, Member] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    inner: dict[str, dict[str, Member]] = field(default_factory=dict)


def list_members(path: Path, shown: Path) -> Contents:
    """The regular, unhidden members of an uncompressed tar; the last counts of two with one name.

    A tar that holds tars and no image (the ILSVRC2012 training set) is read through: the inner members lie in the
    outer file too.

    Args:
        path: the file to read.
        shown: the file that messages name (a compressed tar is read through its unpacked copy).

    Raises:
        SourceError: a file that is no tar or ends early, names that lead outside, images stored as links or sparse.
    """
    with path.open("rb") as file:
        contents = _read_tar(file, str(shown), 0, path.stat().st_size)
        if not any(map(is_image, contents.members)):
            for name, member in [*contents.members.items()]:
                if name.lower().endswith(".tar"):
                    inner = _read_tar(file, f"{shown}, {name}", member.offset, member.num_bytes)
                    contents.inner[name[:-4]] = inner.members
                    contents.skipped |= {f"{name[:-4]}/{below}": why for below, why in inner.skipped.items()}
                    del contents.members[name]
    return contents


class _Slice:
    """A part of a file that tarfile reads as if it were a file of its own."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, count: int) -> bytes:
        self._file.seek(self._start + self._position)
        data = self._file.read(max(0, min(count, self._size - self._position)))
        self._position += len(data)
        return data


def _read_tar(file: IO[bytes], where: str, start: int, size: int) -> Contents:
    contents = Contents()
    try:
        for name, offset, num_bytes in plain_headers(file.fileno(), start, size):
            _put(contents, name, Member(offset, num_bytes), where)
        return contents
    except UnusualTar:
        return _read_unusual_tar(file, where, start, size)


def _read_unusual_tar(file: IO[bytes], where: str, start: int, size: int) -> Contents:
    contents = Contents()
    try:
        with tarfile.open(fileobj=_Slice(file, start, size), mode="r:") as tar:  # type: ignore[call-overload]
            while (info := tar.next()) is not None:
                # Tarfile would keep a kilobyte an image.
                tar.members = []
                # A negative size leads back to an earlier header, round and round (CVE-2025-8194).
                if tar.offset <= info.offset or info.size < 0:
                    raise tarfile.ReadError(f"a member of {info.size} bytes at byte {info.offset}")
                add_member(contents, info, where, start)
            _check_end(tar, where)
    except SourceError:
        raise
    except Exception as error:  # tarfile lets errors of many kinds out of damaged headers
        raise SourceError(f"{where}: expected a tar file; received damage: {error}; fetch or pack it again") from error
    return contents


def add_member(contents: Contents, info: tarfile.TarInfo, where: str, start: int = 0) -> None:
    """Put one header's member into the table, or set it apart when it is hidden or no plain file; folders are left out.

    Raises:
        SourceError: a name that leads outside, or an image that is no plain file.
    """
    if info.isdir():
        return
    if info.isreg() and not info.issparse():
        _put(contents, info.name, Member(start + info.offset_data, info.size), where)
        return
    name = safe_name(info.name, where)
    if is_hidden(name):
        contents.skipped[name] = "hidden"
    elif is_image(name):
        raise SourceError(
            f"{where}: expected plain files; received {name!r} as a link, a sparse or a special file; "
            "pack again with tar --dereference --hard-dereference"
        )
    else:
        contents.skipped[name] = "a link, a sparse or a special file"


def _put(contents: Contents, name: str, member: Member, where: str) -> None:
    name = safe_name(name, where)
    if is_hidden(name):
        contents.skipped[name] = "hidden"
        return
    contents.members.pop(name, None)
    contents.members[name] = member


def _check_end(tar: tarfile.TarFile, where: str) -> None:
    """Tarfile takes a damaged header in the middle for the end; a real end is zeros or the end of the file."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    block = tar.fileobj.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0") or 0 < len(block) < tarfile.BLOCKSIZE:
        raise SourceError(f"{where}: expected a tar header at byte {tar.offset}; received damage; fetch it again")
