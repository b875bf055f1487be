"""Copies of stores between folders and URLs: every digest compared on the way, resumed where they stopped."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace

import numpy as np
import pyarrow as pa

from stores.backends import ByteStore, Location, inside, name_of, open_bytestore
from stores.care import metadata_files, read_commit
from stores.core import (
    BUCKETS,
    SETS,
    BucketSet,
    Lease,
    Store,
    done_record,
    file_problems,
    open_bucket_set,
    open_store,
)
from stores.exchange.adding import write_added
from stores.format import (
    ADDED,
    INDEX,
    MANIFEST,
    REJECTED,
    CorruptStoreError,
    ForeignStoreError,
    Manifest,
    Parts,
    commit_key,
)
from stores.format import index as indexing
from stores.write import ReusedRows, StoreWriter, zero_arrays

Progress = Callable[[int, int], None]
THREADS = 4
# Shards are held in memory while they are compared and sent.
MEMORY_BYTES = 1 << 30


def copy_store(source: Store, parent: Location, progress: Progress | None = None, threads: int = THREADS) -> Store:
    """Copy a complete store to `parent/<name>-<fingerprint12>`, a folder or URL: the same bytes, the same content id.

    Shards that are there already are kept, so the same call goes on where a copy stopped. The copy is a store once its
    manifest is there, which is written last. Added arrays come after it, each a copy of its own.

    Raises:
        CorruptStoreError: a file of the source is not what was written; nothing of that shard is kept.
        LeaseHeldError: somebody else writes there.
    """
    manifest = source.manifest
    target = open_bytestore(inside(parent, f"{manifest.name}-{manifest.fingerprint[:12]}"))
    if target.exists(MANIFEST):
        return _with_added(source, _same(target.url, source), threads)
    manifest = replace(manifest, added=None)
    with Lease(target, on_enter=target.sweep) as lease:
        done = [done_record(target, manifest, shard) is not None for shard in range(manifest.num_shards)]
        _report(progress, sum(done), manifest)
        missing = [shard for shard, there in enumerate(done) if not there]
        _copy_shards(source, target, missing, _threads(manifest, threads), progress)
        table = source.index_bytes()
        files = {INDEX: table, f"{manifest.backup_folder}/{INDEX}": table, **metadata_files(manifest)}
        last = files.pop(MANIFEST)
        for key, data in {**files, MANIFEST: last}.items():
            target.write(key, data, before_visible=lease.check)
    return _with_added(source, open_store(target.url), threads)


def copy_bucket_set(location: Location, root: Location, progress: Progress | None = None) -> BucketSet:
    """Copy a bucket set to another root: each store to `root/<kind>`, then the record and its index to `root/buckets`.

    Raises:
        StoreError: as `open_bucket_set` and `copy_store`.
    """
    found = open_bucket_set(location)
    for store in found.members:
        copy_store(store, inside(root, store.kind), progress)
    target = inside(inside(root, SETS), name_of(found.url))
    blobs = open_bytestore(target)
    for key in (INDEX, BUCKETS):
        blobs.write(key, found.blobs.read(key))
    return open_bucket_set(target)


def copy_part(
    source: Store,
    parent: Location,
    arrays: Sequence[str] | None = None,
    split: str | None = None,
    progress: Progress | None = None,
) -> Store:
    """Make a store below `parent` of some arrays, or of the rows of one split; values stay bit for bit.

    Its fingerprint is its own: it names the source's content and what was taken of it. Without `split` all rows keep
    their numbers, so that it still fits stores that are aligned with the source.

    Raises:
        ValueError: the source has no such array, or no row of that split.
    """
    names = list(arrays or source.arrays)
    unknown = [name for name in names if name not in source.arrays]
    if unknown:
        raise ValueError(f"arrays: expected some of {', '.join(source.arrays)}; received {', '.join(unknown)}")
    specs = [source.arrays[name] for name in names]
    rows = np.arange(source.num_rows) if split is None else source.rows(split)
    if not len(rows):
        raise ValueError(f"{source.url}: expected rows of the split {split}; received none")
    made_from = {key: value for key, value in source.manifest.ingredients.items() if key not in ("store", "kind")}
    taken = {"content_id": source.content_id, "arrays": names, "split": split}
    writer = StoreWriter.create(
        parent,
        kind=source.kind,
        name=source.name,
        arrays=specs,
        index=indexing.with_row_numbers(indexing.with_rejected(source.index.take(pa.array(rows)), {})),
        ingredients={**made_from, "taken_from": taken},
        views=source.views,
        attributes=source.attributes,
        permute=False,
    )
    if not writer.complete:
        with writer.lease():
            for number, shard in enumerate(writer.missing_shards()):
                _write_rows(source, writer, shard, rows)
                if progress is not None:
                    progress(number + 1, writer.num_shards)
            return writer.finalize(max_rejected=1.0)
    return writer.finalize(max_rejected=1.0)


def _with_added(source: Store, copy: Store, threads: int) -> Store:
    """The copy with the added arrays of the source that it lacks."""
    missing = {name: one for name, one in source.added.items() if copy.added.get(name) != one}
    if not missing:
        return copy
    for name in missing:
        copy_store(source.added_store(name), inside(copy.url, ADDED), threads=threads)
    with Lease(copy.blobs, on_enter=copy.blobs.sweep) as lease:
        current = open_store(copy.url)
        write_added(current, {**current.added, **missing}, lease)
    return open_store(copy.url)


def _same(url: str, source: Store) -> Store:
    found = open_store(url)
    if found.content_id != source.content_id:
        raise ForeignStoreError(
            f"{url}: expected a copy of the content {source.content_id[:12]}; received {found.content_id[:12]}; "
            "move it away or copy to another place"
        )
    return found


def _threads(manifest: Manifest, most: int) -> int:
    rows = len(manifest.shard_rows(0))
    largest = max(manifest.shard_format(part).rows_num_bytes(rows) for part in manifest.parts)
    return max(1, min(most, MEMORY_BYTES // (2 * largest)))


def _copy_shards(
    source: Store, target: ByteStore, shards: Sequence[int], threads: int, progress: Progress | None
) -> None:
    """Copy shards side by side; the first error ends it, and what was begun is waited for."""
    done = source.manifest.num_shards - len(shards)
    with ThreadPoolExecutor(threads, thread_name_prefix="store-copy") as pool:
        pending: set[Future[None]] = {pool.submit(_copy_shard, source, target, shard) for shard in shards}
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for one in finished:
                    one.result()
                    done += 1
                    _report(progress, done, source.manifest)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _copy_shard(source: Store, target: ByteStore, shard: int) -> None:
    """The files of a shard, each compared with its record; the record comes last."""
    manifest = source.manifest
    try:
        record = read_commit(source.blobs, manifest, shard)
    except FileNotFoundError as error:
        raise CorruptStoreError(f"{source.url}/{commit_key(shard)}: expected the file; it is missing") from error
    for part in manifest.parts:
        key = source.check_shard(part, shard)
        data = source.blobs.read(key)
        problems = file_problems(manifest, part, shard, record.files[part.name], data)
        if problems:
            raise CorruptStoreError(f"{source.url}/{key}: {'; '.join(problems)}; repair the store")
        target.write(key, data)
    target.write(commit_key(shard), record.to_bytes())


def _report(progress: Progress | None, done: int, manifest: Manifest) -> None:
    if progress is not None:
        progress(done, manifest.num_shards)


def _write_rows(source: Store, writer: StoreWriter, shard: int, rows: np.ndarray) -> None:
    """One shard of a part: stored bits as they are; rows that the source rejected stay rejected."""
    span = writer.shard_rows(shard)
    wanted = rows[span.start : span.stop]
    ok = source.ok[wanted]
    parts: Parts = {}
    for spec in writer.manifest.arrays:
        parts |= source.read_stored(spec, wanted[ok])
    reasons = source.index["reason"].take(pa.array(wanted)).to_pylist()
    rejected = {span.start + k: reasons[k] or REJECTED for k in np.flatnonzero(~ok).tolist()}
    writer.write_shard(shard, zero_arrays(writer.manifest, len(wanted)), rejected, reused=ReusedRows(ok, parts))
