"""Keeps the listing of archives that have not changed, so that a second look at them reads no header and no text."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stores.backends import new_version
from stores.sources.base import Listing
from stores.sources.digests import RACY_NANOSECONDS
from stores.sources.items import SourceItem
from stores.sources.options import SourceOptions
from stores.sources.summary import DataSummary

# To be raised whenever the same files would be listed in another way.
VERSION = 5
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int64()),
        ("caption", pa.list_(pa.string())),
        ("split", pa.string()),
        ("source", pa.string()),
        ("offset", pa.int64()),
        ("num_bytes", pa.int64()),
    ]
)


class ListingCache:
    """One listing below a cache folder, for a source whose files are all known by size, times and inode.

    Args:
        folder: the cache folder.
        name: what the source is: its kind, root and archives.
        options: how it is read.
        files: every file that the listing depends on.
    """

    def __init__(self, folder: str, name: list[object], options: SourceOptions, files: Iterable[Path]) -> None:
        asked = [Path(path) for path in (options.labels, options.class_names) if path is not None]
        stats = [(str(path), _identity(path)) for path in (*files, *asked)]
        self._newest = max((identity[1] for _, identity in stats), default=0)
        self._started = time.time_ns()
        described = json.dumps([VERSION, name, asdict(options), stats], default=str)
        self._fingerprint = hashlib.sha256(described.encode("utf-8", "backslashreplace")).hexdigest()
        place = hashlib.sha256(json.dumps([name, asdict(options)], default=str).encode()).hexdigest()[:16]
        self._path = Path(folder, f"{place}.listing.parquet")

    def load(self) -> Listing | None:
        """The listing kept for these very files, or None."""
        try:
            # Without threads: where a file is damaged, Arrow's may still be at work when the process ends.
            table = pq.ParquetFile(self._path, page_checksum_verification=True).read(use_threads=False)
            facts = json.loads(table.schema.metadata[b"listing"])
            if facts["fingerprint"] != self._fingerprint:
                return None
            columns = [table.column(name).to_pylist() for name in SCHEMA.names]
            items = [SourceItem(*row) for row in zip(*columns, strict=True)]
            return Listing(items, facts["class_names"], DataSummary.from_json(facts["summary"]))
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return None

    def save(self, listing: Listing) -> None:
        """Keep a listing, unless a file is so new that a second change of it could have gone unseen."""
        if self._newest >= self._started - RACY_NANOSECONDS:
            return
        facts = {
            "fingerprint": self._fingerprint,
            "class_names": listing.class_names,
            "summary": listing.summary.to_json(),
        }
        columns: dict[str, list[Any]] = {name: [getattr(item, name) for item in listing.items] for name in SCHEMA.names}
        table = pa.table(columns, schema=SCHEMA.with_metadata({b"listing": json.dumps(facts).encode()}))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with new_version(self._path) as file:
            pq.write_table(table, file, write_page_checksum=True)


def _identity(path: Path) -> tuple[int, int, int, int]:
    """Size, times and inode of a file, zeros where it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0, 0, 0
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
