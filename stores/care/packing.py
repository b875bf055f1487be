"""Archive copies: the same Zarr arrays with a compressor, no longer a store to train on; rounded when asked for."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stores.backends import LocalByteStore, fsync_directory, locked, remove_abandoned, temporary_beside
from stores.care.archive_files import ARCHIVE_SCHEMA_VERSION, FORMAT, STORED_MANIFEST, archive_bytes
from stores.care.codecs import DEFAULT_CODEC, check_codec, codec_chain, numcodecs_known
from stores.care.rounding import Rounding, RoundingError
from stores.care.verify_files import read_commit
from stores.core import ARCHIVE, Store
from stores.format import (
    DATA,
    INDEX,
    ArraySpec,
    CommitRecord,
    CorruptStoreError,
    FileCommit,
    Manifest,
    Part,
    Parts,
    ShardFormat,
    StoreError,
    channel_sums,
    combine,
    commit_key,
    content_id,
    decode,
    encode,
    fingerprint,
    group_record,
    shifted,
    token_counts,
    zarr_json,
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PackedCopy:
    """What `pack` made: bytes of the arrays before and after; `rounding` by array: the bound and the errors found."""

    path: Path
    content_id: str
    num_bytes_before: int
    num_bytes: int
    codec: str
    rounding: dict[str, Any] = field(default_factory=dict)


def pack(
    store: Store,
    out: Path | str,
    codec: str = DEFAULT_CODEC,
    level: int = 5,
    progress: Progress | None = None,
    rounding: Rounding | None = None,
) -> PackedCopy:
    """Copy a store to the new folder `out`, one compressed chunk for each (row, view); every shard is read back.

    zarr-python reads the archive's arrays as they are; `unpack` makes the store again. With `rounding` it holds another
    store of the same rows, whose ingredients name the bound: its own fingerprint, content id and statistics.

    Args:
        store: What is copied.
        out: A folder that does not exist.
        codec: One of `CODECS`.
        level: 1 to 9, slower and smaller.
        progress: Called with the shards done and all shards.
        rounding: The error that values may have; by default they stay as they are, bit for bit.

    Raises:
        ValueError: an unknown codec or level, a folder that exists, or a bound that rounding exceeds.
        CorruptStoreError: the store is damaged.
    """
    check_codec(codec, level)
    out = Path(out).absolute()
    if out.exists():
        raise ValueError(f"{out}: expected a new folder; it exists; choose another one")
    remove_abandoned(out)
    temporary = temporary_beside(out)
    temporary.mkdir(parents=True)
    try:
        with locked(temporary), numcodecs_known():
            packed = _Packing(store, LocalByteStore(temporary), (codec, level), rounding).run(progress)
            os.replace(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_directory(out.parent)
    return replace(packed, path=out)


class _Packing:
    """One archive while it is written."""

    def __init__(self, store: Store, blobs: LocalByteStore, codec: tuple[str, int], rounding: Rounding | None) -> None:
        self.store, self.blobs, self.codec, self.rounding = store, blobs, codec, rounding
        # Added arrays are stores of their own, which an archive leaves out.
        own = replace(store.manifest, added=None)
        self.manifest = own if rounding is None else rounded_manifest(own, rounding)
        rounded = [spec for spec in self.manifest.arrays if rounding is not None and rounding.rounds(spec)]
        self.errors = {spec.name: RoundingError(rounding.bound) for spec in rounded if rounding is not None}

    def run(self, progress: Progress | None) -> PackedCopy:
        """Write everything; the path is that of the unfinished folder."""
        arrays = {part.name: self._create(part) for part in self.manifest.parts}
        records, before = [], 0
        for shard in range(self.manifest.num_shards):
            record, num_bytes = self._pack_shard(shard, arrays)
            self.blobs.write(commit_key(shard), record.to_bytes())
            records.append(record)
            before += num_bytes
            if progress is not None:
                progress(shard + 1, self.manifest.num_shards)
        found = {name: error.to_json() for name, error in self.errors.items()}
        for name, error in found.items():
            arrays[name].update_attributes({**arrays[name].attrs, "rounding": error})
        manifest = self._finished(records, found)
        self._write_metadata(manifest, found)
        after = self.blobs.num_bytes(f"{DATA}/")
        assert manifest.content_id is not None
        return PackedCopy(self.blobs.root, manifest.content_id, before, after, self.codec[0], found)

    def _create(self, part: Part) -> Any:
        """An empty Zarr array with the store's grid of shards and chunks, names of axes, and attributes."""
        import zarr

        like = json.loads(self.manifest.zarr_files()[f"{DATA}/{part.name}/zarr.json"])
        chunk = like["codecs"][0]["configuration"]["chunk_shape"]
        return zarr.open_group(self.blobs.root / DATA, mode="a").create_array(
            part.name,
            shape=tuple(like["shape"]),
            dtype=part.numpy_dtype,
            chunks=tuple(chunk),
            shards=tuple(like["chunk_grid"]["configuration"]["chunk_shape"]),
            fill_value=part.fill,
            chunk_key_encoding={"name": "default", **like["chunk_key_encoding"]["configuration"]},
            dimension_names=like["dimension_names"],
            attributes=like["attributes"],
            config={"write_empty_chunks": True},
            **codec_chain(*self.codec, part),
        )

    def _pack_shard(self, shard: int, arrays: dict[str, Any]) -> tuple[CommitRecord, int]:
        """Compress one shard of every array and read it back; its record, and its bytes in the store."""
        record = read_commit(self.store.blobs, self.store.manifest, shard)
        parts = {part.name: self._read(part, shard, record) for part in self.store.manifest.parts}
        for spec in self.manifest.arrays:
            if spec.name in self.errors:
                record = self._round(spec, parts, record)
        for part in self.manifest.parts:
            array, commit = arrays[part.name], record.files[part.name]
            location = f"{DATA}/{self.manifest.shard_key(part, shard)}"
            where = archived_range(self.manifest, part, shard, commit)
            if where.start < where.stop:
                array[where] = parts[part.name]
            check_values(self.store.format(part), array[where], commit.values_digest, location)
        num_bytes = sum(commit.num_bytes for commit in record.files.values())
        return replace(record, fingerprint=self.manifest.fingerprint), num_bytes

    def _read(self, part: Part, shard: int, record: CommitRecord) -> np.ndarray:
        """What the Zarr array holds of a shard, compared with its digest."""
        values = self.store.read_shard(part, shard)
        location = f"{self.store.blobs.url}/{self.store.manifest.shard_key(part, shard)}"
        check_values(self.store.format(part), values, record.files[part.name].values_digest, location)
        return values

    def _round(self, spec: ArraySpec, parts: Parts, record: CommitRecord) -> CommitRecord:
        """Round the ok rows of one array in place; the record with the sums and digest of what they are now."""
        assert self.rounding is not None
        ok = ~np.isin(np.arange(record.start, record.stop), list(record.rejected))
        own = self._own_parts(spec, parts, record.shard)
        chosen = token_counts(own[spec.spans][ok], len(own[spec.name])) > 0 if spec.is_ragged else ok
        original = decode(spec, {part.name: own[part.name] for part in spec.token_parts})[chosen]
        rounded = self.rounding(spec, original)
        self.errors[spec.name].add(original, rounded, f"{spec.name}: rows {record.start} to {record.stop - 1}")
        part = spec.parts[0]
        parts[part.name][chosen] = encode(spec, rounded)[part.name]
        files = {**record.files, part.name: self._file_commit(part, record, parts[part.name])}
        sums = channel_sums(spec, own, ok, self.manifest.sums_variances(spec.name))
        return replace(record, files=files, sums={**record.sums, spec.name: sums})

    def _own_parts(self, spec: ArraySpec, parts: Parts, shard: int) -> Parts:
        """Those of an array, with spans in the shard's own tokens."""
        own = {part.name: parts[part.name] for part in spec.parts}
        if spec.is_ragged:
            first = self.store.format(spec.token_parts[0]).zarr_range(shard, 0).start
            own[spec.spans] = shifted(own[spec.spans], -first)
        return own

    def _file_commit(self, part: Part, record: CommitRecord, values: np.ndarray) -> FileCommit:
        return FileCommit(record.files[part.name].num_bytes, self.store.format(part).digest(values))

    def _finished(self, records: list[CommitRecord], found: dict[str, Any]) -> Manifest:
        """The manifest of what is in the archive: the store's own, or that of its rounded values."""
        if self.rounding is None:
            return self.manifest
        manifest = replace(self.manifest, attributes={**self.manifest.attributes, "rounding": found})
        sums = {spec.name: combine([record.sums[spec.name] for record in records]) for spec in manifest.arrays}
        digest = self.store.manifest.index_file_sha256
        assert digest is not None
        statistics = {name: one.to_json() for name, one in sums.items()}
        return manifest.completed(content_id(manifest, records), statistics, digest)

    def _write_metadata(self, manifest: Manifest, found: dict[str, Any]) -> None:
        """The group's metadata with that of its arrays, the index, the manifest, and the digests of all files."""
        like = json.loads(manifest.zarr_files()[f"{DATA}/zarr.json"])
        arrays = {part.name: json.loads(self.blobs.read(f"{DATA}/{part.name}/zarr.json")) for part in manifest.parts}
        self.blobs.write(f"{DATA}/zarr.json", zarr_json(group_record(like["attributes"], arrays)))
        self.blobs.write(INDEX, self.store.index_bytes())
        self.blobs.write(STORED_MANIFEST, manifest.to_bytes())
        files = {key: hashlib.sha256(self.blobs.read(key)).hexdigest() for key in self.blobs.keys()}  # noqa: SIM118
        name, level = self.codec
        record = {"format": FORMAT, "schema_version": ARCHIVE_SCHEMA_VERSION, "codec": {"name": name, "level": level}}
        self.blobs.write(ARCHIVE, archive_bytes({**record, "rounding": found, "files": files}))


def rounded_manifest(manifest: Manifest, rounding: Rounding) -> Manifest:
    """The manifest of a store with the same rows and rounded values; unfinished.

    Raises:
        StoreError: no array holds floats.
    """
    if not any(rounding.rounds(spec) for spec in manifest.arrays):
        dtypes = ", ".join(f"{spec.name} {spec.dtype}" for spec in manifest.arrays)
        raise StoreError(f"{manifest.name}: expected an array of floats to round; received {dtypes}; give no bound")
    made = {"content_id": manifest.content_id, **rounding.bound}
    return replace(
        manifest.reopened(),
        ingredients={**manifest.ingredients, "rounded_from": made},
        row_fingerprint=fingerprint({"row": manifest.row_fingerprint, "rounded": rounding.bound}),
    )


def archived_range(manifest: Manifest, part: Part, shard: int, commit: FileCommit) -> slice:
    """Where a committed shard lies along the first axis of a Zarr array.

    Raises:
        CorruptStoreError: no shard of this store has the size that was committed.
    """
    form = manifest.shard_format(part)
    records = form.num_records(len(manifest.shard_rows(shard)), commit.num_bytes)
    if records is None:
        raise CorruptStoreError(
            f"{commit_key(shard)}: {part.name}: expected the size of a shard; received {commit.num_bytes} bytes"
        )
    return form.zarr_range(shard, records)


def check_values(form: ShardFormat, values: Any, digest: str, location: str) -> None:
    """Compare a shard's values with the digest of its record.

    Raises:
        CorruptStoreError: they differ.
    """
    found = form.digest(np.ascontiguousarray(values))
    if found != digest:
        raise CorruptStoreError(f"{location}: expected the values of its record, {digest[:12]}; received {found[:12]}")
