"""Remembers the sha256 of images whose files have not changed, the way git's index does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from stores.backends import new_version

# Times of change are too coarse to tell two writes apart that are this close ("racily clean" in git's words).
RACY_NANOSECONDS = 2_000_000_000

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("offset", pa.int64()),
        *((name, pa.int64()) for name in ("size", "mtime_ns", "ctime_ns", "inode")),
        ("num_bytes", pa.int64()),
        ("sha256", pa.binary(32)),
    ]
)


class Identity(NamedTuple):
    """What the file system says about a file; equal before and after means that its bytes are the same."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Digest(NamedTuple):
    """Size and sha256 (32 bytes) of one image."""

    num_bytes: int
    sha256: bytes


Known = dict[tuple[str, int], tuple[Identity, Digest]]


def identify(path: Path) -> Identity:
    """The identity of the file at `path` now; take it before reading the file. Raises `OSError`."""
    stat = path.stat()
    return Identity(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def load_digests(path: Path, root: str) -> Known:
    """Digests saved for the source at `root`, by (source, offset).

    A file that is missing, damaged, or about another root gives nothing: the digests are then computed again.
    """
    try:
        # Without threads: where a file is damaged, Arrow's may still be at work when the process ends, and abort it.
        file = pq.ParquetFile(path, page_checksum_verification=True)
        table = file.read(columns=SCHEMA.names, use_threads=False).cast(SCHEMA)
        saved_root = pq.read_schema(path).metadata[b"root"]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return {}
    return _known(table) if saved_root == _root_name(root) else {}


def _known(table: Any) -> Known:
    columns = [table.column(name).to_pylist() for name in SCHEMA.names]
    rows = zip(*columns, strict=True)
    return {(row[0], row[1]): (Identity(*row[2:6]), Digest(*row[6:])) for row in rows if None not in row}


def save_digests(path: Path, root: str, known: Known, started_ns: int) -> None:
    """Replace the file at `path` by `known`, in one step.

    Entries whose file changed less than two seconds before the scan started (`started_ns`), or later, are left out: a
    second write could have gone unseen.
    """
    settled = {key: entry for key, entry in known.items() if entry[0].mtime_ns < started_ns - RACY_NANOSECONDS}
    rows = [(*key, *identity, *digest) for key, (identity, digest) in settled.items()]
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    schema = SCHEMA.with_metadata({b"root": _root_name(root)})
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_version(path) as file:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file, write_page_checksum=True)


def _root_name(root: str) -> bytes:
    return os.fsencode(os.path.realpath(root))
