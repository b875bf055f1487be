"""Reads every image of a source once and gives the index columns: key, label, split, place and sha256."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from stores.format import NO_BYTES_SHA256, split_of
from stores.sources.base import Progress, Source
from stores.sources.digests import Digest, Identity, Known, identify, load_digests, save_digests
from stores.sources.items import SourceItem
from stores.sources.paths import SourceError, SourceUnavailableError
from stores.sources.summary import DataSummary, DataWarning, splits_to_divide, summarize_rows

# Images handed to the threads at a time: enough to keep them busy, few enough to report progress often.
WINDOW = 256

SCAN_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("caption", pa.list_(pa.string())),
        ("split", pa.string()),
        ("source", pa.string()),
        ("offset", pa.int64()),
        ("num_bytes", pa.int64()),
        ("sha256", pa.string()),
    ]
)

NO_BYTES = Digest(0, bytes.fromhex(NO_BYTES_SHA256))


@dataclass(frozen=True)
class ScanResult:
    """`table`: one row per image (`SCAN_SCHEMA`), sorted by key; `unreadable`: key → reason where no bytes came.

    An unreadable image has its row too, with the digest of no bytes, so that it ends up in the index as rejected.
    `summary` says how the source was understood, with the rows as they are here: after `limit`, and with the split of
    each.
    """

    table: Any
    class_names: list[str] | None
    unreadable: dict[str, str]
    summary: DataSummary


def scan(
    source: Source,
    *,
    holdout: float = 0.0,
    threads: int = 4,
    limit: int | None = None,
    progress: Progress | None = None,
    cache: str | Path | None = None,
    listing_progress: Progress | None = None,
) -> ScanResult:
    """Hash every image's bytes and lay out the index columns.

    An image without a split of its own (or of "train" where none is "val") is "val" for the share `holdout` of
    contents, "train" otherwise. `limit` keeps the images with the smallest sha256. `progress(done, total)` counts
    images, `listing_progress` the archives before them. `cache` names a file that remembers the digests of unchanged
    files. The images in memory at once are at most `threads`, whatever their number.
    Raises `ValueError` for settings out of range, `SourceError` for a source that cannot be listed, and
    `SourceUnavailableError` for a host that cannot read an image (what was read is remembered in `cache`).
    """
    _check_settings(holdout, threads, limit)
    listing = source.list_items(listing_progress)
    digests, unreadable = _hash_all(source, listing.items, threads, progress, Path(cache) if cache else None)
    found = [(item, digests.get(item.key, NO_BYTES)) for item in listing.items]
    if limit is not None:
        found = sorted(found, key=lambda pair: (pair[1].sha256, pair[0].key))[:limit]
    found.sort(key=lambda pair: pair[0].key)
    splits = {item.split for item in listing.items}
    divided = splits_to_divide(splits)
    found = [
        (replace(item, split=split_of(digest.sha256, holdout)) if item.split in divided else item, digest)
        for item, digest in found
    ]
    summary = summarize_rows(listing.summary, (item for item, _ in found), listing.class_names)
    if holdout and not splits & divided:
        text = f"a holdout of {holdout:g} holds out none: every image has a split of its own"
        summary = replace(summary, warnings=[*summary.warnings, DataWarning(text, "holdout", "0")])
    return ScanResult(_to_table(found), listing.class_names, unreadable, summary)


def _check_settings(holdout: float, threads: int, limit: int | None) -> None:
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout: expected a fraction from 0 to below 1, got {holdout}")
    if threads < 1:
        raise ValueError(f"threads: expected at least 1, got {threads}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1 image, got {limit}")


def _hash_all(
    source: Source, items: list[SourceItem], threads: int, progress: Progress | None, cache: Path | None
) -> tuple[dict[str, Digest], dict[str, str]]:
    """Digests by key, and reasons for images without one; what was done is saved even when this is interrupted."""
    started_ns = time.time_ns()
    old = load_digests(cache, source.root) if cache else {}
    fresh: Known = {}
    digests: dict[str, Digest] = {}
    unreadable: dict[str, str] = {}
    finished = False
    try:
        for item, identity, outcome in _outcomes(source, items, old, threads, progress):
            if isinstance(outcome, str):
                unreadable[item.key] = outcome
                continue
            digests[item.key] = outcome
            if identity is not None:
                fresh[item.source, item.offset] = (identity, outcome)
        finished = True
    finally:
        if cache:
            save_digests(cache, source.root, fresh if finished else old | fresh, started_ns)
    return digests, unreadable


def _outcomes(
    source: Source, items: list[SourceItem], old: Known, threads: int, progress: Progress | None
) -> Iterator[tuple[SourceItem, Identity | None, Digest | str]]:
    """Yield each image with its file's identity and its digest, or the reason why there is none."""
    identities: dict[str, Identity | None] = {}

    def digest(item: SourceItem) -> Digest | str:
        entry = old.get((item.source, item.offset))
        if entry is not None and entry[0] == identities[item.source]:
            return entry[1]
        return _digest(source, item)

    with ThreadPoolExecutor(threads, thread_name_prefix="scan") as pool:
        for start in range(0, len(items), WINDOW):
            window = items[start : start + WINDOW]
            for item in window:
                if item.source not in identities:
                    identities[item.source] = _identity(source, item.source)
            for item, outcome in zip(window, pool.map(digest, window), strict=True):
                yield item, identities[item.source], outcome
            if progress is not None:
                progress(start + len(window), len(items))


def _identity(source: Source, name: str) -> Identity | None:
    try:
        return identify(source.container(name))
    except (OSError, SourceError):
        return None


def _digest(source: Source, item: SourceItem) -> Digest | str:
    try:
        data = source.read(item.source, item.offset, item.num_bytes)
    except SourceUnavailableError:
        raise  # an image that cannot be read here and now may be a good one
    except SourceError as error:
        return str(error)
    return Digest(len(data), hashlib.sha256(data).digest())


def _to_table(found: list[tuple[SourceItem, Digest]]) -> Any:
    columns = {
        "key": [item.key for item, _ in found],
        "label": [item.label for item, _ in found],
        "caption": [item.caption for item, _ in found],
        "split": [item.split for item, _ in found],
        "source": [item.source for item, _ in found],
        "offset": [item.offset for item, _ in found],
        "num_bytes": [digest.num_bytes for _, digest in found],
        "sha256": [digest.sha256.hex() for _, digest in found],
    }
    return pa.table(columns, schema=SCAN_SCHEMA)
