"""Commit records: the small file that says a shard is done, and what its bytes must be."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from stores.format.errors import CorruptStoreError
from stores.format.fingerprints import canonical_json
from stores.format.layout import commit_key
from stores.format.manifest import Manifest


@dataclass(frozen=True)
class FileCommit:
    """One file of a shard: its size, and the digest of its values, whatever their container (`ShardFormat.digest`)."""

    num_bytes: int
    values_digest: str


@dataclass(frozen=True)
class Sums:
    """Over a shard's ok rows: float64 (C,) sums and sums of squares per channel, `count` values in each channel.

    Of moments also `variances`, float64 (C/2,): sums of exp(log variance) per channel.
    """

    count: int
    sums: np.ndarray
    squares: np.ndarray
    variances: np.ndarray | None = None


@dataclass(frozen=True)
class CommitRecord:
    """commits/<shard>.json: rows start to stop - 1; `files` by Zarr array, `sums` by array of the store."""

    fingerprint: str
    shard: int
    start: int
    stop: int
    files: dict[str, FileCommit]
    sums: dict[str, Sums]
    rejected: dict[int, str]

    def to_bytes(self) -> bytes:
        """The file's text."""
        files = {name: vars(part) for name, part in self.files.items()}
        sums = {name: _sums_to_json(part) for name, part in self.sums.items()}
        rejected = {str(row): reason for row, reason in sorted(self.rejected.items())}
        record = {**vars(self), "files": files, "sums": sums, "rejected": rejected}
        record["record_sha256"] = hashlib.sha256(canonical_json(record)).hexdigest()
        return json.dumps(record, allow_nan=False, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes, manifest: Manifest, shard: int, location: str) -> "CommitRecord":
        """Parse the file and check that it is this store's record of this shard.

        Raises:
            CorruptStoreError: malformed, damaged, or the record of another store or shard.
        """
        try:
            record = json.loads(data)
            digest = record.pop("record_sha256")
            if hashlib.sha256(canonical_json(record)).hexdigest() != digest:
                raise ValueError("its own digest does not fit: the file was damaged")
            parsed = _record(**record)
            parsed._check(manifest, shard)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            problem = str(error) or type(error).__name__
            raise CorruptStoreError(
                f"{location}/{commit_key(shard)}: expected the record of shard {shard}; {problem}"
            ) from error
        return parsed

    def _check(self, manifest: Manifest, shard: int) -> None:
        rows = manifest.shard_rows(shard)
        if self.fingerprint != manifest.fingerprint:
            raise ValueError(
                f"it belongs to the store {str(self.fingerprint)[:12]}, this one is {manifest.fingerprint[:12]}"
            )
        if (self.shard, self.start, self.stop) != (shard, rows.start, rows.stop):
            raise ValueError(f"it is of shard {self.shard}, rows {self.start} to {self.stop}")
        if set(self.files) != {part.name for part in manifest.parts}:
            raise ValueError(f"it holds the files {sorted(self.files)}")
        if set(self.sums) != {spec.name for spec in manifest.arrays}:
            raise ValueError(f"it holds sums of {sorted(self.sums)}")
        if any(row not in rows for row in self.rejected):
            raise ValueError("it rejects rows of other shards")
        for spec in manifest.arrays:
            part = self.sums[spec.name]
            if part.sums.shape != (spec.channels,) or part.squares.shape != (spec.channels,):
                raise ValueError(f"{spec.name}: its sums are not of {spec.channels} channels")
            if part.variances is not None and part.variances.shape != (spec.channels // 2,):
                raise ValueError(f"{spec.name}: its variances are not of {spec.channels // 2} channels")


def content_id(manifest: Manifest, records: list[CommitRecord]) -> str:
    """SHA-256 over what the store holds: shapes, dtypes, the digest of every shard's values, the rejected rows.

    Independent of names, workers, crashes and of how the values are encoded in files.
    """
    shapes = [spec.to_json() for spec in manifest.arrays]
    names = [part.name for part in manifest.parts]
    shards = [[record.files[name].values_digest for name in names] for record in records]
    rejected = sorted(row for record in records for row in record.rejected)
    sizes = [manifest.num_rows, manifest.views, manifest.rows_per_shard]
    return hashlib.sha256(canonical_json([shapes, sizes, shards, rejected])).hexdigest()


def _record(
    fingerprint: str,
    shard: int,
    start: int,
    stop: int,
    files: dict[str, Any],
    sums: dict[str, Any],
    rejected: dict[str, Any],
) -> CommitRecord:
    return CommitRecord(
        fingerprint,
        shard,
        start,
        stop,
        {name: FileCommit(int(part["num_bytes"]), str(part["values_digest"])) for name, part in files.items()},
        {name: _sums_from_json(**part) for name, part in sums.items()},
        {int(row): str(reason) for row, reason in rejected.items()},
    )


def _sums_to_json(part: Sums) -> dict[str, Any]:
    variances = {} if part.variances is None else {"variances": part.variances.tolist()}
    return {"count": part.count, "sums": part.sums.tolist(), "squares": part.squares.tolist(), **variances}


def _sums_from_json(count: int, sums: list[float], squares: list[float], variances: list[float] | None = None) -> Sums:
    of_moments = None if variances is None else np.array(variances, np.float64)
    return Sums(int(count), np.array(sums, np.float64), np.array(squares, np.float64), of_moments)
