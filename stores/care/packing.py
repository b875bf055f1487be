"""Archive copies: the same Zarr arrays with a compressor, no longer a store to train on, and the way back."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stores.backends import (
    ByteStore,
    LocalByteStore,
    Location,
    fsync_directory,
    inside,
    open_bytestore,
    temporary_beside,
)
from stores.care.verify_files import metadata_files, read_commit, read_or_none
from stores.core import Lease, Store, open_store
from stores.format import (
    COMPLETE,
    DATA,
    INDEX,
    MANIFEST,
    CommitRecord,
    CorruptStoreError,
    ForeignStoreError,
    Manifest,
    Part,
    ShardFormat,
    canonical_json,
    commit_key,
    group_record,
    zarr_json,
)

ARCHIVE = "archive.json"
FORMAT = "fae-archive"
# The manifest lies under another name, so that nobody takes an archive for a store.
STORED_MANIFEST = "store-manifest.json"
COMPRESSORS = ("blosc", "zstd", "gzip")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PackedCopy:
    """What `pack` made: bytes of the arrays before and after."""

    path: Path
    content_id: str
    num_bytes_before: int
    num_bytes: int


def pack(
    store: Store, out: Path | str, compressor: str = "blosc", level: int = 5, progress: Progress | None = None
) -> PackedCopy:
    """Copy a store to the new folder `out`, one compressed chunk for each (row, view); every shard is read back.

    "blosc" shuffles bits and compresses with zstd, which suits floats; "zstd" and "gzip" take the bytes as they are.
    zarr-python reads the archive's arrays as they are; `unpack` makes the store again.

    Raises:
        ValueError: an unknown compressor or level, or a folder that exists.
        CorruptStoreError: the store is damaged.
    """
    codec, out = make_codec(compressor, level), Path(out).absolute()
    if out.exists():
        raise ValueError(f"{out}: expected a new folder; it exists; choose another one")
    manifest = store.manifest
    temporary = temporary_beside(out)
    blobs = LocalByteStore(temporary)
    try:
        arrays = {part.name: _create(temporary, manifest, part, codec) for part in manifest.parts}
        _write_group(blobs, manifest)
        before = 0
        for shard in range(manifest.num_shards):
            record = read_commit(store.blobs, manifest, shard)
            before += sum(_pack_shard(store, part, arrays[part.name], shard, record) for part in manifest.parts)
            blobs.write(commit_key(shard), record.to_bytes())
            if progress is not None:
                progress(shard + 1, manifest.num_shards)
        blobs.write(INDEX, store.blobs.read(INDEX))
        blobs.write(STORED_MANIFEST, manifest.to_bytes())
        files = {key: hashlib.sha256(blobs.read(key)).hexdigest() for key in blobs.keys()}  # noqa: SIM118
        settings = {"name": compressor, "level": level}
        blobs.write(ARCHIVE, archive_bytes({"format": FORMAT, "compressor": settings, "files": files}))
        os.replace(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_directory(out.parent)
    after = sum(path.stat().st_size for path in (out / DATA).rglob("*") if path.is_file())
    return PackedCopy(out, store.content_id, before, after)


def unpack(archive: Path | str, parent: Location, progress: Progress | None = None) -> Store:
    """Make the store `parent/<name>-<fingerprint12>` out of an archive: the same values, content id and shard files.

    When the store is there and complete, nothing is done.

    Raises:
        ForeignStoreError: the folder is no archive.
        CorruptStoreError: a file of the archive is missing or damaged.
    """
    source = LocalByteStore(archive)
    files = read_archive(source)
    manifest = _manifest(source, files)
    target = inside(parent, f"{manifest.name}-{manifest.fingerprint[:12]}")
    blobs = open_bytestore(target)
    if blobs.exists(MANIFEST) and open_store(target).content_id == manifest.content_id:
        return open_store(target)
    with Lease(blobs, on_enter=blobs.sweep) as lease:
        for shard in range(manifest.num_shards):
            _unpack_shard(source, files, blobs, manifest, shard)
            if progress is not None:
                progress(shard + 1, manifest.num_shards)
        table = _checked(source, files, INDEX)
        metadata = {key: data for key, data in metadata_files(manifest).items() if key != MANIFEST}
        # The manifest comes last: it says that the rest is there.
        copies = {INDEX: table, f"{manifest.backup_folder}/{INDEX}": table}
        for key, data in {**copies, **metadata, MANIFEST: manifest.to_bytes()}.items():
            blobs.write(key, data, before_visible=lease.check)
    return open_store(target)


def read_kind(archive: Path | str) -> str:
    """The kind of the store in an archive, which is the folder that it belongs into; the same errors as `unpack`."""
    source = LocalByteStore(archive)
    return _manifest(source, read_archive(source)).kind


def make_codec(compressor: str, level: int) -> Any:
    """The Zarr codec.

    Raises:
        ValueError: an unknown name, or a level from outside 1 to 9.
    """
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    if compressor not in COMPRESSORS:
        raise ValueError(f"compressor: expected one of {', '.join(COMPRESSORS)}; received {compressor!r}")
    if not 1 <= level <= 9:
        raise ValueError(f"level: expected 1 to 9; received {level}")
    if compressor == "blosc":
        return BloscCodec(cname="zstd", clevel=level, shuffle="bitshuffle")
    return ZstdCodec(level=level) if compressor == "zstd" else GzipCodec(level=level)


def read_archive(source: LocalByteStore) -> dict[str, str]:
    """Key -> sha256 of the archive's files.

    Raises:
        ForeignStoreError, CorruptStoreError: no archive, or a damaged archive.json.
    """
    data = read_or_none(source, ARCHIVE)
    if data is None:
        raise ForeignStoreError(f"{source.url}: expected an archive of a store; received no {ARCHIVE}")
    try:
        record = json.loads(data)
        whole = record["format"] == FORMAT and archive_bytes(record) == data
        files = {str(key): str(digest) for key, digest in record["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise CorruptStoreError(f"{source.url}/{ARCHIVE}: expected its own digest to fit; the file was damaged")
    return files


def _create(folder: Path, manifest: Manifest, part: Part, codec: Any) -> Any:
    """An empty Zarr array with the store's grid of shards and chunks, names of axes, and attributes."""
    import zarr

    like = json.loads(manifest.zarr_files()[f"{DATA}/{part.name}/zarr.json"])
    group = zarr.open_group(folder / DATA, mode="a")
    rest = part.row_shape
    return group.create_array(
        part.name,
        shape=(manifest.num_rows, manifest.views, *rest),
        dtype=part.numpy_dtype,
        chunks=(1, 1, *rest),
        shards=(manifest.rows_per_shard, manifest.views, *rest),
        compressors=[codec],
        fill_value=part.fill,
        chunk_key_encoding={"name": "default", **like["chunk_key_encoding"]["configuration"]},
        dimension_names=like["dimension_names"],
        attributes=like["attributes"],
        config={"write_empty_chunks": True},
    )


def _write_group(blobs: ByteStore, manifest: Manifest) -> None:
    """The group's metadata with that of its arrays, as they were created."""
    like = json.loads(manifest.zarr_files()[f"{DATA}/zarr.json"])
    arrays = {part.name: json.loads(blobs.read(f"{DATA}/{part.name}/zarr.json")) for part in manifest.parts}
    blobs.write(f"{DATA}/zarr.json", zarr_json(group_record(like["attributes"], arrays)))


def _pack_shard(store: Store, part: Part, array: Any, shard: int, record: CommitRecord) -> int:
    """Compress one shard of one array and read it back; returns its bytes before."""
    rows, form = store.manifest.shard_rows(shard), store.format(part)
    records = np.arange(rows.start * store.views, rows.stop * store.views)
    buffer, _ = store.read_buffer(part, records)
    values = form.values(buffer).reshape(len(rows), store.views, *part.row_shape)
    digest = record.files[part.name].values_digest
    array[rows.start : rows.stop] = values
    for location, found in ((store.blobs.url, values), (DATA, array[rows.start : rows.stop])):
        _check_values(form, found, digest, f"{location}/{store.manifest.shard_key(part, shard)}")
    return form.num_bytes(len(rows))


def _unpack_shard(
    source: LocalByteStore, files: dict[str, str], blobs: ByteStore, manifest: Manifest, shard: int
) -> None:
    """Read one shard of every array through Zarr's codecs and write it as the store's files, its record last."""
    import zarr

    rows = manifest.shard_rows(shard)
    text = _checked(source, files, commit_key(shard))
    record = CommitRecord.from_bytes(text, manifest, shard, source.url)
    for part in manifest.parts:
        key = manifest.shard_key(part, shard)
        _checked(source, files, f"{DATA}/{part.name}/zarr.json")
        _checked(source, files, key)
        array: Any = zarr.open_array(source.root / DATA / part.name, mode="r")
        values = np.ascontiguousarray(array[rows.start : rows.stop], part.numpy_dtype)
        form = ShardFormat(part, manifest.views, manifest.rows_per_shard)
        _check_values(form, values, record.files[part.name].values_digest, f"{source.url}/{key}")
        blobs.write(key, form.encode(values))
    blobs.write(commit_key(shard), text)


def _check_values(form: ShardFormat, values: Any, digest: str, location: str) -> None:
    found = form.digest(np.ascontiguousarray(values))
    if found != digest:
        raise CorruptStoreError(f"{location}: expected the values of its record, {digest[:12]}; received {found[:12]}")


def _checked(source: LocalByteStore, files: dict[str, str], key: str) -> bytes:
    """A file of the archive, after its digest was compared."""
    data = read_or_none(source, key)
    if data is None or hashlib.sha256(data).hexdigest() != files.get(key):
        state = "missing" if data is None else "damaged"
        raise CorruptStoreError(f"{source.url}/{key}: expected the file as it was packed; it is {state}")
    return data


def _manifest(source: LocalByteStore, files: dict[str, str]) -> Manifest:
    """The manifest of the archived store, whose kind and name become folders."""
    manifest = Manifest.from_bytes(_checked(source, files, STORED_MANIFEST), source.url)
    plain = all(re.fullmatch(r"[\w\-][\w.\-]*", name) for name in (manifest.kind, manifest.name))
    if manifest.status != COMPLETE or not plain:
        raise CorruptStoreError(
            f"{source.url}/{STORED_MANIFEST}: expected a complete store with a plain kind and name; "
            f"received {manifest.status} {manifest.kind!r} {manifest.name!r}"
        )
    return manifest


def archive_bytes(record: dict[str, Any]) -> bytes:
    """archive.json with the digest of everything else in it."""
    rest = {name: value for name, value in record.items() if name != "archive_sha256"}
    return json.dumps({**rest, "archive_sha256": hashlib.sha256(canonical_json(rest)).hexdigest()}, indent=1).encode()
