"""Finishing a store: which shards are done, and the one replacement that makes them a complete store."""

import hashlib
from collections.abc import Callable

import pyarrow as pa

from stores.backends import ByteStore
from stores.format import (
    INDEX,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    CommitRecord,
    CorruptStoreError,
    IncompleteStoreError,
    Manifest,
    Part,
    TooManyRejectedError,
    combine,
    commit_key,
    content_id,
)
from stores.format import index as indexing


def read_record(blobs: ByteStore, manifest: Manifest, shard: int) -> CommitRecord:
    """A shard's record.

    Raises:
        FileNotFoundError: the shard was not committed.
        CorruptStoreError: a damaged record, or another store's.
    """
    data = blobs.read_at_most(commit_key(shard), MAX_MANIFEST_BYTES)
    return CommitRecord.from_bytes(data, manifest, shard, blobs.url)


def done_record(blobs: ByteStore, manifest: Manifest, shard: int) -> CommitRecord | None:
    """A shard's record when it is valid and the shard's files are there in full length."""
    try:
        record = read_record(blobs, manifest, shard)
    except (CorruptStoreError, FileNotFoundError):
        return None
    return record if all(_is_whole(blobs, manifest, part, shard, record) for part in manifest.parts) else None


def _is_whole(blobs: ByteStore, manifest: Manifest, part: Part, shard: int, record: CommitRecord) -> bool:
    num_bytes = record.files[part.name].num_bytes
    if manifest.shard_format(part).num_records(len(manifest.shard_rows(shard)), num_bytes) is None:
        return False
    try:
        return blobs.size(manifest.shard_key(part, shard)) == num_bytes
    except FileNotFoundError:
        return False


def write_finished(
    blobs: ByteStore,
    manifest: Manifest,
    index: pa.Table,
    max_rejected: float,
    check_lease: Callable[[], object] | None = None,
) -> Manifest:
    """Write row statuses, statistics and content id of a store whose shards are done; returns its complete manifest.

    Args:
        blobs: the store's files.
        manifest: the manifest of the unfinished store.
        index: its rows in stored order.
        max_rejected: the share of rows that may be rejected.
        check_lease: called right before each file appears; what it raises stops the finish.

    Raises:
        IncompleteStoreError: shards are missing.
        TooManyRejectedError: more than the share `max_rejected` of rows, or all, were rejected; nothing is lost.
    """
    found = [done_record(blobs, manifest, shard) for shard in range(manifest.num_shards)]
    missing = [shard for shard, record in enumerate(found) if record is None]
    if missing:
        raise IncompleteStoreError(
            f"{blobs.url}: {len(missing)} of {manifest.num_shards} shards are missing, the first is {missing[0]}; "
            "run the command that writes this store again"
        )
    records = [record for record in found if record is not None]
    rejected = {row: reason for record in records for row, reason in record.rejected.items()}
    _check_rejected(blobs.url, index, rejected, max_rejected)
    table = indexing.index_to_bytes(indexing.with_rejected(index, rejected))
    statistics = {
        spec.name: combine([record.sums[spec.name] for record in records]).to_json() for spec in manifest.arrays
    }
    finished = manifest.completed(content_id(manifest, records), statistics, hashlib.sha256(table).hexdigest())
    # The manifest in its place says that the store is complete: it comes last.
    backup = manifest.backup_folder
    for key, data in ((INDEX, table), (f"{backup}/{INDEX}", table), (f"{backup}/{MANIFEST}", finished.to_bytes())):
        blobs.write(key, data, before_visible=check_lease)
    blobs.write(MANIFEST, finished.to_bytes(), before_visible=check_lease)
    return finished


def check_done(blobs: ByteStore, manifest: Manifest, index: pa.Table, max_rejected: float) -> None:
    """Raise `TooManyRejectedError` when the shards that are done rejected more than that share of all rows."""
    done = (done_record(blobs, manifest, shard) for shard in range(manifest.num_shards))
    rejected = {row: reason for record in done if record for row, reason in record.rejected.items()}
    _check_rejected(blobs.url, index, rejected, max_rejected)


def _check_rejected(url: str, index: pa.Table, rejected: dict[int, str], max_rejected: float) -> None:
    """Raise `TooManyRejectedError` when more than the share `max_rejected` of all rows, or all, were rejected."""
    if len(rejected) <= max_rejected * index.num_rows and len(rejected) < index.num_rows:
        return
    keys = index["key"]
    first = "; ".join(f"{keys[row].as_py()}: {reason}" for row, reason in sorted(rejected.items())[:5])
    raise TooManyRejectedError(
        f"{url}: {len(rejected)} of {index.num_rows} images were rejected, more than the allowed share "
        f"{max_rejected:g}: {first}; repair or remove them, or allow a larger share; the others are kept"
    )
