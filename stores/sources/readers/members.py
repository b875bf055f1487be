"""The table of contents of a tar file: where each member's bytes lie; what is whole is used, what is not is named."""

from __future__ import annotations

import posixpath
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from stores.sources.fields.problems import Problems
from stores.sources.paths import PLAIN_NAME, damage_of_file, is_image, refused_name, safe_name
from stores.sources.readers.headers import UnusualTar, next_header, plain_headers

DAMAGED = "damaged archive: what is whole in it is used"
CUT_OFF = "cut off: the archive ends early"
# Tarfile reads the records before a header whole, of whatever size they say they are.
MAX_READ_BYTES = 1024 * 1024
MAX_LINKS = 40


class Member(NamedTuple):
    """Place of a member's bytes in the archive."""

    offset: int
    num_bytes: int


@dataclass
class Contents:
    """Members of an archive by path, in the order they lie, what was left out with its reason, and what is damaged.

    `inner` are tars inside the tar: their members by the inner tar's name without its suffix.
    """

    members: dict[str, Member] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    inner: dict[str, dict[str, Member]] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)

    def put(self, name: str, member: Member) -> None:
        """Add a member; the last counts of two with one name."""
        reason = refused_name(name)
        if reason:
            self.skipped[name] = reason
            return
        name = safe_name(name, "")
        self.members.pop(name, None)
        self.members[name] = member


def list_members(path: Path, shown: Path) -> Contents:
    """The regular, unhidden members of an uncompressed tar; the last counts of two with one name.

    A link to another member is that member's bytes under a second name. After a damaged header the next good one is
    looked for, as GNU tar does. A tar that holds tars and no image (the ILSVRC2012 training set) is read through: the
    inner members lie in the outer file too.

    Args:
        path: the file to read.
        shown: the file that messages name (a compressed tar is read through its unpacked copy).
    """
    with path.open("rb") as file:
        contents = _read_tar(file, str(shown), 0, path.stat().st_size)
        if not any(map(is_image, contents.members)):
            for name, member in [*contents.members.items()]:
                if name.lower().endswith(".tar"):
                    inner = _read_tar(file, f"{shown}, {name}", member.offset, member.num_bytes)
                    contents.inner[name[:-4]] = inner.members
                    contents.skipped |= {f"{name[:-4]}/{below}": why for below, why in inner.skipped.items()}
                    contents.problems.merge(inner.problems)
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
        if count > MAX_READ_BYTES:
            raise tarfile.ReadError(f"a record of {count} bytes before a header")
        self._file.seek(self._start + self._position)
        data = self._file.read(max(0, min(count, self._size - self._position)))
        self._position += len(data)
        return data


def _read_tar(file: IO[bytes], where: str, start: int, size: int) -> Contents:
    contents = Contents()
    try:
        members = contents.members
        for name, offset, num_bytes in plain_headers(file.fileno(), start, size):
            # Nearly all, and there may be millions.
            if PLAIN_NAME.fullmatch(name) and "__M" not in name and name not in members:
                members[name] = Member(offset, num_bytes)
            else:
                contents.put(name, Member(offset, num_bytes))
        return contents
    except UnusualTar:
        return _TarPieces(file, where, start, size).read()


class _TarPieces:
    """A tar that tarfile reads, piece by piece between damaged places."""

    def __init__(self, file: IO[bytes], where: str, start: int, size: int) -> None:
        self.file, self.where, self.start, self.size = file, where, start, size
        self.contents = Contents()
        self.links: dict[str, str] = {}

    def read(self) -> Contents:
        """All members of all pieces."""
        piece: int | None = 0
        while piece is not None:
            damaged = self._read_piece(piece)
            if damaged is None:
                break
            position, why = damaged
            damage = damage_of_file(self.where, f"damage at byte {position}: {why}")
            found = f"{self.where}: expected a tar file; received {damage}"
            self.contents.problems.add(DAMAGED, found)
            piece = next_header(self.file.fileno(), self.start, position + tarfile.BLOCKSIZE, self.size)
        for name in self.links:
            self._follow(name)
        return self.contents

    def _read_piece(self, piece: int) -> tuple[int, str] | None:
        """Read members from the byte `piece` on; where the damage begins that ends them and what it is, or None."""
        part, position = _Slice(self.file, self.start + piece, self.size - piece), piece
        try:
            with tarfile.open(fileobj=part, mode="r:") as tar:  # type: ignore[call-overload]
                while (info := tar.next()) is not None:
                    # Tarfile would keep a kilobyte an image.
                    tar.members = []
                    # A negative size leads back to an earlier header, round and round (CVE-2025-8194).
                    if tar.offset <= info.offset or info.size < 0:
                        return position, f"a member of {info.size} bytes"
                    if info.isreg() and info.offset_data + info.size > self.size - piece:
                        self.contents.skipped[info.name] = CUT_OFF
                        return self.size, f"{info.name} is cut off"
                    self._add(info, self.start + piece)
                    position = piece + tar.offset
                block = _block_at(tar)
        except Exception as error:  # tarfile lets errors of many kinds out of damaged headers
            return position, " ".join(str(error).split())[:200] or type(error).__name__
        # Tarfile takes a damaged header for the end; a real end is zeros or the end of the file.
        damaged = block.strip(b"\0") or 0 < len(block) < tarfile.BLOCKSIZE
        return (position, "no header of a member") if damaged else None

    def _add(self, info: tarfile.TarInfo, start: int) -> None:
        """Put one header's member into the table, or set it apart when it is no plain file; folders are left out."""
        if info.isdir():
            return
        if info.isreg() and not info.issparse():
            self.contents.put(info.name, Member(start + info.offset_data, info.size))
            return
        reason = refused_name(info.name)
        if reason is None and (info.issym() or info.islnk()):
            name = safe_name(info.name, "")
            folder = posixpath.dirname(name) if info.issym() else ""
            self.links[name] = posixpath.normpath(posixpath.join(folder, info.linkname))
        else:
            self.contents.skipped[info.name] = reason or "a sparse or a special file"

    def _follow(self, name: str) -> None:
        """Give a link the bytes of the member that it leads to, over other links."""
        target = self.links[name]
        for _ in range(MAX_LINKS):
            member = self.contents.members.get(target)
            if member is not None:
                self.contents.put(name, member)
                return
            if target not in self.links:
                break
            target = self.links[target]
        self.contents.skipped[name] = "a link to no member of its archive"


def _block_at(tar: tarfile.TarFile) -> bytes:
    """The block where the next header would be."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    return tar.fileobj.read(tarfile.BLOCKSIZE)
