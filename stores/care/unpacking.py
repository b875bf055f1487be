"""From an archive back to a store: every file and every value compared with its digest."""

from pathlib import Path
from typing import Any

import numpy as np

from stores.backends import ByteStore, LocalByteStore, Location, inside, open_bytestore
from stores.care.archive_files import read_archive, read_checked, read_stored_manifest
from stores.care.codecs import numcodecs_known
from stores.care.packing import Progress, archived_range, check_values
from stores.care.verify_files import metadata_files
from stores.core import Lease, Store, open_store
from stores.format import DATA, INDEX, MANIFEST, CommitRecord, Manifest, StoreError, commit_key


def unpack(archive: Path | str, parent: Location, progress: Progress | None = None) -> Store:
    """Make the store `parent/<name>-<fingerprint12>` out of an archive: the same values, content id and shard files.

    When the store is there and complete, nothing is done.

    Raises:
        ForeignStoreError: the folder is no archive.
        CorruptStoreError: a file of the archive is missing or damaged.
        StoreError: the package of the archive's codec is not installed.
    """
    source = LocalByteStore(archive)
    files = read_archive(source)
    manifest = read_stored_manifest(source, files)
    target = inside(parent, f"{manifest.name}-{manifest.fingerprint[:12]}")
    blobs = open_bytestore(target)
    if blobs.exists(MANIFEST) and open_store(target).content_id == manifest.content_id:
        return open_store(target)
    with Lease(blobs, on_enter=blobs.sweep) as lease, numcodecs_known():
        for shard in range(manifest.num_shards):
            _unpack_shard(source, files, blobs, manifest, shard)
            if progress is not None:
                progress(shard + 1, manifest.num_shards)
        table = read_checked(source, files, INDEX)
        metadata = {key: data for key, data in metadata_files(manifest).items() if key != MANIFEST}
        # The manifest comes last: it says that the rest is there.
        copies = {INDEX: table, f"{manifest.backup_folder}/{INDEX}": table}
        for key, data in {**copies, **metadata, MANIFEST: manifest.to_bytes()}.items():
            blobs.write(key, data, before_visible=lease.check)
    return open_store(target)


def read_kind(archive: Path | str) -> str:
    """The kind of the store in an archive, which is the folder that it belongs into; the same errors as `unpack`."""
    source = LocalByteStore(archive)
    return read_stored_manifest(source, read_archive(source)).kind


def _unpack_shard(
    source: LocalByteStore, files: dict[str, str], blobs: ByteStore, manifest: Manifest, shard: int
) -> None:
    """Read one shard of every array through Zarr's codecs and write it as the store's files, its record last."""
    text = read_checked(source, files, commit_key(shard))
    record = CommitRecord.from_bytes(text, manifest, shard, source.url)
    for part in manifest.parts:
        key = manifest.shard_key(part, shard)
        read_checked(source, files, f"{DATA}/{part.name}/zarr.json")
        read_checked(source, files, key)
        commit, form = record.files[part.name], manifest.shard_format(part)
        where = archived_range(manifest, part, shard, commit)
        values = np.ascontiguousarray(_read_entries(source.root / DATA / part.name, where), part.numpy_dtype)
        check_values(form, values, commit.values_digest, f"{source.url}/{key}")
        blobs.write(key, form.encode(values))
    blobs.write(commit_key(shard), text)


def _read_entries(folder: Path, where: slice) -> np.ndarray:
    """A part of a Zarr array along its first axis; numcodecs notices at the first chunk that a package is missing."""
    import numcodecs.errors
    import zarr.errors

    missing = (ImportError, numcodecs.errors.UnknownCodecError, zarr.errors.UnknownCodecError)  # zarr's own since 3.4
    try:
        array: Any = zarr.open_array(folder, mode="r")
        return np.asarray(array[where])
    except missing as error:
        raise StoreError(
            f"{folder}: expected the package of its codec; {error}; install the extra `archives`"
        ) from error
