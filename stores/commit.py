"""Commit records: the small file that says a shard is done, and what its bytes must be."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from stores.errors import CorruptStoreError
from stores.fingerprint import canonical_json
from stores.layout import commit_key
from stores.manifest import Manifest


@dataclass(frozen=True)
class ArrayCommit:
    """One array's part of a shard: size of its file, digest of its decoded values, sums over the ok rows.

    `sums` and `squares` are float64 (C,) per channel, `count` the number of values summed in each channel.
    """

    num_bytes: int
    values_sha256: str
    count: int
    sums: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True)
class CommitRecord:
    """commits/<shard>.json."""

    fingerprint: str
    shard: int
    start: int
    stop: int
    arrays: dict[str, ArrayCommit]
    rejected: dict[int, str]

    def to_bytes(self) -> bytes:
        """The file's text."""
        arrays = {
            name: {**vars(part), "sums": part.sums.tolist(), "squares": part.squares.tolist()}
            for name, part in self.arrays.items()
        }
        rejected = {str(row): reason for row, reason in sorted(self.rejected.items())}
        record = {**vars(self), "arrays": arrays, "rejected": rejected}
        record["record_sha256"] = hashlib.sha256(canonical_json(record)).hexdigest()
        return json.dumps(record, allow_nan=False, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes, manifest: Manifest, shard: int, place: str) -> "CommitRecord":
        """Parse the file and check that it is this store's record of this shard.

        Raises:
            CorruptStoreError: malformed, damaged, or the record of another store or shard.
        """
        try:
            record = json.loads(data)
            digest = record.pop("record_sha256")
            if hashlib.sha256(canonical_json(record)).hexdigest() != digest:
                raise ValueError("its own digest does not fit: the file was damaged")
            parsed = cls(**{**record, "arrays": _arrays(record["arrays"]), "rejected": _rejected(record["rejected"])})
            parsed._check(manifest, shard)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            problem = str(error) or type(error).__name__
            raise CorruptStoreError(
                f"{place}/{commit_key(shard)}: expected the record of shard {shard}; {problem}"
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
        if set(self.arrays) != {spec.name for spec in manifest.arrays}:
            raise ValueError(f"it holds the arrays {sorted(self.arrays)}")
        if any(row not in rows for row in self.rejected):
            raise ValueError("it rejects rows of other shards")
        for spec in manifest.arrays:
            part = self.arrays[spec.name]
            if part.sums.shape != (spec.channels,) or part.squares.shape != (spec.channels,):
                raise ValueError(f"{spec.name}: its sums are not of {spec.channels} channels")


def content_id(manifest: Manifest, records: list[CommitRecord]) -> str:
    """SHA-256 over what the store holds: shapes, dtypes, the digest of every shard's values, the rejected rows.

    Independent of names, workers, crashes and of how the values are encoded in files.
    """
    shapes = [spec.to_json() for spec in manifest.arrays]
    names = [spec.name for spec in manifest.arrays]
    shards = [[record.arrays[name].values_sha256 for name in names] for record in records]
    rejected = sorted(row for record in records for row in record.rejected)
    sizes = [manifest.num_rows, manifest.views, manifest.rows_per_shard]
    return hashlib.sha256(canonical_json([shapes, sizes, shards, rejected])).hexdigest()


def _arrays(arrays: dict[str, Any]) -> dict[str, ArrayCommit]:
    return {name: _array(**part) for name, part in arrays.items()}


def _array(num_bytes: int, values_sha256: str, count: int, sums: list[float], squares: list[float]) -> ArrayCommit:
    return ArrayCommit(
        int(num_bytes), str(values_sha256), int(count), np.array(sums, np.float64), np.array(squares, np.float64)
    )


def _rejected(rejected: dict[str, Any]) -> dict[int, str]:
    return {int(row): str(reason) for row, reason in rejected.items()}
