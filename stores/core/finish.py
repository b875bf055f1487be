"""Finishing a store: which shards are done, and the one replacement that makes them a complete store."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

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
    may_be_empty: bool = False,
) -> Manifest:
    """Write row statuses, statistics and content id of a store whose shards are done; returns its complete manifest.

    Args:
        blobs: the store's files.
        manifest: the manifest of the unfinished store.
        index: its rows in stored order.
        max_rejected: the share of rows that may be rejected.
        check_lease: called right before each file appears; what it raises stops the finish.
        may_be_empty: whether all rows may be rejected, as those of one store of a bucket set.

    Raises:
        IncompleteStoreError: shards are missing.
        TooManyRejectedError: more than the share `max_rejected` of rows were rejected, or all; nothing is lost.
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
    check_rejected(blobs.url, _with_keys(index, rejected), index.num_rows, max_rejected, may_be_empty)
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


def rejected_rows(blobs: ByteStore, manifest: Manifest, index: pa.Table) -> list[tuple[str, str]]:
    """Key and reason of each row that the shards done so far rejected, in stored order."""
    done = (done_record(blobs, manifest, shard) for shard in range(manifest.num_shards))
    rejected = {row: reason for record in done if record for row, reason in record.rejected.items()}
    return _with_keys(index, rejected)


def check_rejected(
    where: str, rejected: Sequence[tuple[str, str]], num_rows: int, max_rejected: float, may_be_empty: bool = False
) -> None:
    """Judge how many rows were rejected.

    Args:
        where: names the store, or the set of stores.
        rejected: keys and reasons.
        num_rows: rows in all.
        max_rejected: the share of them that may be rejected.
        may_be_empty: whether all of them may.

    Raises:
        TooManyRejectedError: more were; the message names the first ones.
    """
    if not rejected or (len(rejected) <= max_rejected * num_rows and (may_be_empty or len(rejected) < num_rows)):
        return
    first = "; ".join(f"{key}: {reason}" for key, reason in rejected[:5])
    is_all = len(rejected) <= max_rejected * num_rows
    limit = "and a store needs one that is not" if is_all else f"more than the allowed share {max_rejected:g}"
    remedy = "repair or remove them" + ("" if is_all else ", or allow a larger share")
    raise TooManyRejectedError(
        f"{where}: {len(rejected)} of {num_rows} images were rejected, {limit}: {first}; {remedy}; the others are kept"
    )


def _with_keys(index: pa.Table, rejected: Mapping[int, str]) -> list[tuple[str, str]]:
    """Each row's key, and its reason."""
    rows = sorted(rejected)
    keys = index["key"].take(pa.array(rows, pa.int64())).to_pylist()
    return [(key, rejected[row]) for key, row in zip(keys, rows, strict=True)]
