"""Names and paths: what counts as an image, what a path says about class and split, and what may not be opened."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
from pathlib import Path, PurePosixPath

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"}
)
# Parts of ordinary characters that do not begin with a dot.
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
ZIP_SUFFIXES = (".zip",)
ARROW_SUFFIXES = (".arrow", ".feather")
ROWS_SUFFIXES = (".parquet", *ARROW_SUFFIXES)
_TEXT_TABLES = (".csv", ".tsv", ".txt", ".token", ".xml")
_PLAIN_TABLES = (*_TEXT_TABLES, ".jsonl", ".jsonlines", ".ndjson", ".manifest", ".json", ".parquet")
TABLE_SUFFIXES = (*_PLAIN_TABLES, ".csv.gz", ".tsv.gz", ".jsonl.gz", ".ndjson.gz", ".json.gz")
# Folders that archivers, network drives and file systems put among the files of others.
BY_PRODUCTS = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "lost+found", "System Volume Information")
)


class SourceError(ValueError):
    """An image source that cannot be used as it is; the message says what was expected and what to do."""


class SeveralImagesError(SourceError):
    """A table whose rows name several images each, and nothing says which of them is the one of the data set."""


class PairsError(SourceError):
    """A table of pairs of images, which may have nothing to do with the layout of the data set."""


class DamagedArchiveError(SourceError):
    """An archive, or a file of rows, of which nothing can be read."""


class SourceUnavailableError(SourceError):
    """A source that this host cannot read now: a permission, an I/O error, a time-out; no fault of what lies in it."""


def damage_of_file(path: str | Path, damage: object) -> str:
    """What is wrong with a file that is no archive or table, with what to do: a pointer, a page, else the damage."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        head = file.read(64).lstrip().lower()
        if head.startswith(b"version https://git-lfs"):
            return "a git-lfs pointer; run `git lfs pull` where the files come from"
        if head.startswith((b"<!doctype html", b"<html", b"<?xml")):
            return "an HTML or XML page, as servers send it where a file is gone; fetch it again"
    return f"{damage}; fetch it again"


# What the file system says of a name itself; all other errors are about the host, its disks and its network.
FACTS_OF_A_NAME = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL))


def read_error(where: object, error: OSError) -> SourceError:
    """The error of a file that the operating system does not give; damage, which has no error number, is the file's."""
    reason = " ".join(str(error.strerror or error).split())[:300]
    if error.errno is None or error.errno in FACTS_OF_A_NAME:
        return SourceError(f"{where}: cannot be read: {reason}")
    return SourceUnavailableError(
        f"{where}: cannot be read on host {platform.node()}: {reason}; run the command again once it can be: what was "
        "read is kept"
    )


def is_hidden(name: str) -> bool:
    """Whether a path has a part that is hidden (".x") or that archivers and file systems add (`__MACOSX`, `@eaDir`)."""
    if "/." not in name and name[:1] != "." and not _may_be_by_product(name):
        return False
    return any(part in BY_PRODUCTS or (part.startswith(".") and part not in (".", "..")) for part in name.split("/"))


def _may_be_by_product(name: str) -> bool:
    """A quick look, since there may be millions of names."""
    return "@" in name or "__M" in name or "#" in name or "$" in name or "+" in name or "System " in name


def is_image(name: str) -> bool:
    """Whether a path is an image by its suffix, and neither hidden nor an archiver's by-product."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not is_hidden(name)


def is_text(name: str) -> bool:
    """Whether a name is UTF-8 without control characters, so that an index can hold it."""
    # Lone surrogates stand for bytes that are not UTF-8.
    return not re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", name)


def safe_name(name: str, where: str) -> str:
    """`name` as a plain relative path ("./a//b" becomes "a/b"); `where` names the file it came from.

    Raises `SourceError` for names that could leave a folder on any system (absolute, "..", a drive), and for names
    that are not text (not UTF-8, control characters), as those cannot be written to an index.
    """
    if PLAIN_NAME.fullmatch(name):  # nearly all names, and there may be millions
        return name
    parts = re.split(r"[/\\]", name)
    if name[:1] in ("/", "\\") or ".." in parts or re.match(r"[A-Za-z]:", name):
        raise SourceError(
            f"{where}: expected names below the folder; received {name!r}; make it again with relative names"
        )
    if not name or not is_text(name):
        raise SourceError(f"{where}: expected UTF-8 names without control characters; received {name!r}; rename it")
    return PurePosixPath(name).as_posix()


def refused_name(name: str) -> str | None:
    """Why a member of an archive is left out by its name, or None."""
    try:
        safe_name(name, "")
    except SourceError:
        leads_out = is_text(name) and bool(name)
        return "a name that leads outside" if leads_out else "a name that is not UTF-8 or has control characters"
    return "hidden" if is_hidden(name) else None


def strip_suffix(name: str, suffixes: tuple[str, ...]) -> str:
    """A name without the longest of these suffixes that it has ("a/b.tar.gz" becomes "a/b")."""
    found = [suffix for suffix in suffixes if name.lower().endswith(suffix)]
    return name[: -max(map(len, found))] if found else name


def below_root(root: str, source: str, follow_links: bool) -> Path:
    """The path of `source` below `root`.

    Raises:
        SourceError: a name that leads outside, or, unless links are followed, a link that does.
    """
    return Path(root, safe_name(source, root)) if follow_links else contained_path(root, source)


def contained_path(root: str, source: str) -> Path:
    """The path of `source` below `root`; `SourceError` when it, or a link in it, leads outside."""
    path = Path(root, safe_name(source, root))
    real_root = os.path.realpath(root)
    if not Path(os.path.realpath(path)).is_relative_to(real_root):
        raise SourceError(
            f"{path}: expected a file inside {real_root}; received a link that leads out; follow links, or copy it in"
        )
    return path
