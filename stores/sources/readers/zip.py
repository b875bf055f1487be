"""Bytes of zip members, stored or deflated, read in place."""

from __future__ import annotations

import weakref
import zipfile
import zlib
from dataclasses import dataclass

from stores.sources.paths import DamagedArchiveError, SourceError, below_root, damage_of_file, read_error
from stores.sources.readers.folder import MAX_IMAGE_BYTES, check_size
from stores.sources.readers.members import Contents, Member
from stores.sources.recent import Recent

MAX_OPEN_ZIPS = 16
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
ENCRYPTED = 0x1
LINK, KIND = 0o120000, 0o170000


@dataclass(frozen=True)
class _OpenZip:
    """An open zip and its members by the offset of their headers; zipfile lets many threads read one archive."""

    file: zipfile.ZipFile
    members: dict[int, zipfile.ZipInfo]


class ZipReader:
    """Members of the zips below a root; a member is known by the offset of its header."""

    def __init__(self, root: str, follow_links: bool) -> None:
        self._root, self._follow_links = root, follow_links
        self._open = Recent(self._load, MAX_OPEN_ZIPS)

    def contents(self, source: str) -> Contents:
        """Every member of a zip; those that are encrypted or links are set apart.

        Raises:
            DamagedArchiveError: a file that is no zip.
        """
        contents = Contents()
        members = self._open.get(source).members.values()
        of_windows = not any("/" in info.filename for info in members)  # whose programs may write its own separator
        for info in members:
            name = info.filename.replace("\\", "/") if of_windows else info.filename
            if name.endswith("/"):
                continue
            reason = _refused(info)
            if reason:
                contents.skipped[name] = reason
            else:
                contents.put(name, Member(info.header_offset, info.file_size))
        return contents

    def read(self, source: str, offset: int, num_bytes: int, most: int = MAX_IMAGE_BYTES) -> bytes:
        """The bytes of the member whose header is at `offset`.

        Raises:
            SourceError: there is none, it is damaged, too large, or of another size than `num_bytes`.
        """
        where = f"{self._root}/{source}, byte {offset}"
        archive = self._open.get(source)
        info = archive.members.get(offset)
        if info is None:
            raise SourceError(f"{where}: expected a member of the zip; received none: it changed; scan again")
        if info.file_size > most:
            raise SourceError(f"{where}: expected at most {most} bytes; received {info.file_size}")
        try:
            with archive.file.open(info) as member:
                return check_size(member.read(info.file_size), num_bytes, where)
        except DAMAGE as error:
            if isinstance(error, SourceError):
                raise
            if isinstance(error, OSError):
                raise read_error(where, error) from error
            raise SourceError(f"{where}: expected a zip member; received damage: {error}; fetch it again") from error

    def _load(self, source: str) -> _OpenZip:
        path = below_root(self._root, source, self._follow_links)
        try:
            file = zipfile.ZipFile(path)
        except DAMAGE as error:
            if isinstance(error, OSError):
                raise read_error(path, error) from error
            raise DamagedArchiveError(
                f"{path}: expected a zip archive; received {damage_of_file(path, f'damage: {error}')}"
            ) from error
        opened = _OpenZip(file, {info.header_offset: info for info in file.infolist()})
        weakref.finalize(opened, file.close)  # the collector may let go of the file before the archive
        return opened


def _refused(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & ENCRYPTED:
        return "encrypted"
    return "a link inside an archive" if (info.external_attr >> 16) & KIND == LINK else None
