"""The table of contents of a tar file: where each member's bytes lie, with damaged and malicious tars refused."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import NamedTuple

from stores.sources.paths import SourceError, is_hidden, is_image, safe_name


class Member(NamedTuple):
    """Place of a member's bytes in the tar."""

    offset: int
    num_bytes: int


def list_members(path: Path, shown: Path) -> dict[str, Member]:
    """The regular, unhidden members of an uncompressed tar in the order they lie; the last counts of two with one name.

    `shown` is the file that messages name (a compressed tar is read through its unpacked copy). Raises `SourceError`
    for a file that is no tar or ends early, for names that lead outside, and for images stored as links or sparse.
    """
    members: dict[str, Member] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            while (info := tar.next()) is not None:
                # Tarfile would keep a kilobyte an image.
                tar.members = []  # type: ignore[attr-defined]
                # A negative size leads back to an earlier header, round and round (CVE-2025-8194).
                if tar.offset <= info.offset or info.size < 0:
                    raise tarfile.ReadError(f"a member of {info.size} bytes at byte {info.offset}")
                add_member(members, info, str(shown))
            _check_end(tar, shown)
    except SourceError:
        raise
    except Exception as error:  # tarfile lets errors of many kinds out of damaged headers
        raise SourceError(f"{shown}: expected a tar file, found damage: {error}; fetch or pack it again") from error
    return members


def add_member(members: dict[str, Member], info: tarfile.TarInfo, where: str) -> None:
    """Put one header's member into the table, or leave it out when it is a folder or hidden."""
    if info.isdir():
        return
    name = safe_name(info.name, where)
    if is_hidden(name):
        return
    if info.isreg() and not info.issparse():
        members.pop(name, None)
        members[name] = Member(info.offset_data, info.size)
    elif is_image(name):
        raise SourceError(
            f"{where}: expected plain files, found {name!r} as a link, a sparse or a special file; "
            "pack again with tar --dereference --hard-dereference"
        )


def _check_end(tar: tarfile.TarFile, shown: Path) -> None:
    """Tarfile takes a damaged header in the middle for the end; a real end is zeros or the end of the file."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    block = tar.fileobj.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0") or 0 < len(block) < tarfile.BLOCKSIZE:
        raise SourceError(f"{shown}: expected a tar header at byte {tar.offset}, found damage; fetch or pack it again")
