"""Shard files: values in, bytes of a Zarr v3 sharding_indexed chunk out, and the other way round."""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import numpy as np

from stores.format.errors import CorruptStoreError
from stores.format.spec import Part

CHECKSUM_BYTES = 4
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class ShardBytes:
    """A shard's file as buffers to be joined, made while they are asked for, none of them a copy of the values."""

    form: "ShardFormat"
    values: np.ndarray
    checksums: np.ndarray = field(init=False)
    """uint32 crc32c of each record; there once the buffers were gone through."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "checksums", np.zeros(len(self.form.records(self.values)), "<u4"))

    def __iter__(self) -> Iterator[Any]:
        for number, record in enumerate(self.form.records(self.values)):
            self.checksums[number] = checksum = google_crc32c.value(record)
            yield record
            yield struct.pack("<I", checksum)
        yield self.form.encode_index(len(self.checksums))

    def digest(self) -> str:
        """The values' digest, of the checksums that were worked out on the way."""
        return _digest(self.checksums)


@dataclass(frozen=True)
class ShardFormat:
    """The geometry of one Zarr array's shards: `capacity` inner chunks of `record_bytes` values and a crc32c each.

    Chunk i begins at i * (record_bytes + 4); the index of (offset, length) pairs and its crc32c end the file. A shard
    of rows has a record for each (row, view); one of tokens as many as its tokens need.
    """

    part: Part
    views: int
    rows_per_shard: int

    @property
    def stride(self) -> int:
        """Bytes from one record to the next."""
        return self.part.record_bytes + CHECKSUM_BYTES

    @property
    def capacity(self) -> int:
        """Records of a full shard."""
        if self.part.tokens_per_chunk is None:
            return self.rows_per_shard * self.views
        return -(-self.rows_per_shard * self.views * self.part.row_shape[0] // self.part.tokens_per_chunk)

    @property
    def tokens_per_shard(self) -> int:
        """Positions along the token axis that belong to a shard, used or not."""
        assert self.part.tokens_per_chunk is not None
        return self.capacity * self.part.tokens_per_chunk

    @property
    def zarr_entries(self) -> int:
        """Entries of a shard along the first axis of the Zarr array."""
        return self.rows_per_shard if self.part.tokens_per_chunk is None else self.tokens_per_shard

    @property
    def index_bytes(self) -> int:
        """Bytes of the index with its checksum."""
        return 16 * self.capacity + CHECKSUM_BYTES

    def num_records(self, rows: int, num_bytes: int) -> int | None:
        """Records in a file of this size of a shard of so many rows; None when no such shard has this size."""
        count, rest = divmod(num_bytes - self.index_bytes, self.stride)
        if self.part.tokens_per_chunk is None:
            return count if (count, rest) == (rows * self.views, 0) else None
        return count if 0 <= count <= self.capacity and not rest else None

    def num_bytes(self, records: int) -> int:
        """Size of the file of a shard of so many records."""
        return records * self.stride + self.index_bytes

    def rows_num_bytes(self, rows: int) -> int:
        """Size of the file of a shard of so many rows; of tokens at most."""
        return self.num_bytes(min(self.capacity, ShardFormat(self.part, self.views, rows).capacity))

    def encode(self, values: np.ndarray) -> "ShardBytes":
        """The file's bytes for values (rows, views, *row_shape) of the stored dtype."""
        return ShardBytes(self, values)

    def records(self, values: np.ndarray) -> np.ndarray:
        """(rows, views, *row_shape), or chunks of tokens, -> (records, record_bytes) uint8, the same memory."""
        return values.reshape(-1, self.part.record_bytes // self.part.numpy_dtype.itemsize).view(np.uint8)

    def in_zarr(self, values: np.ndarray) -> np.ndarray:
        """(records, *record_shape) as the Zarr array has them: (rows, views, *row_shape) or (tokens, ...)."""
        part = self.part
        rest = (self.views, *part.row_shape) if part.tokens_per_chunk is None else part.row_shape[1:]
        return values.reshape(-1, *rest)

    def zarr_range(self, shard: int, records: int) -> slice:
        """Where a shard of so many records lies along the first axis of the Zarr array."""
        entries = records // self.views if self.part.tokens_per_chunk is None else records * self.part.record_shape[0]
        return slice(shard * self.zarr_entries, shard * self.zarr_entries + entries)

    def digest(self, values: np.ndarray) -> str:
        """SHA-256 over the crc32c of every record, in order.

        It costs nothing beside the checksums, and tells any two shards apart that differ by accident (a single record
        that differs has one chance in 2^32 to pass). It is no proof against somebody who forges records.
        """
        records = self.records(values)
        return _digest(_checksums(records, len(records)))

    def encode_index(self, used: int) -> np.ndarray:
        """Offsets and lengths of the `used` records; those that a short shard lacks are empty."""
        index = np.full((self.capacity, 2), _EMPTY, "<u8")
        index[:used, 0] = np.arange(used, dtype=np.uint64) * np.uint64(self.stride)
        index[:used, 1] = self.stride
        body = index.tobytes()
        return np.frombuffer(body + struct.pack("<I", google_crc32c.value(body)), np.uint8)

    def damaged(self, records: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Which of the records `wanted` (positions in `records`, (n, stride) uint8) do not fit their checksum."""
        bodies = self.bodies(records)
        found = _checksums((bodies[i] for i in wanted), len(wanted))
        return np.asarray(wanted[found != _stored_checksums(records, wanted)])

    def damaged_and_digest(self, records: np.ndarray) -> tuple[np.ndarray, str]:
        """`damaged` of all records, and the digest of their values, of one computation of each checksum."""
        found = _checksums(self.bodies(records), len(records))
        return np.flatnonzero(found != _stored_checksums(records, slice(None))), _digest(found)

    def check_records(self, records: np.ndarray, wanted: np.ndarray, location: str, first: int) -> None:
        """Compare the checksums of some records, (n, stride) uint8 from number `first` of a shard on.

        Raises:
            CorruptStoreError: a record's bytes are not what was written.
        """
        damaged = self.damaged(records, wanted)
        if len(damaged):
            raise CorruptStoreError(
                f"{location}: {self.name_record(first + int(damaged[0]))}: expected values that fit their crc32c; "
                "the file is damaged: repair the store"
            )

    def name_record(self, record: int) -> str:
        """A record of a shard in words."""
        if self.part.tokens_per_chunk is not None:
            return f"chunk {record} of the shard's tokens"
        row, view = divmod(record, self.views)
        return f"row {row} of the shard, view {view}"

    def bodies(self, records: np.ndarray) -> np.ndarray:
        """(n, stride) uint8 -> (n, record_bytes) uint8, the same memory without the checksums."""
        return records[:, :-CHECKSUM_BYTES]

    def values(self, records: np.ndarray) -> np.ndarray:
        """(n, stride) uint8 -> (n, *record_shape) values, copied out from between the checksums."""
        data = np.ascontiguousarray(self.bodies(records))
        return data.view(self.part.numpy_dtype).reshape(len(records), *self.part.record_shape)


def _checksums(bodies: Iterable[np.ndarray], count: int) -> np.ndarray:
    return np.fromiter((google_crc32c.value(body) for body in bodies), "<u4", count)


def _stored_checksums(records: np.ndarray, wanted: np.ndarray | slice) -> np.ndarray:
    return np.ascontiguousarray(records[wanted, -CHECKSUM_BYTES:]).view("<u4").reshape(-1)


def _digest(checksums: np.ndarray) -> str:
    return hashlib.sha256(checksums.astype("<u4").tobytes()).hexdigest()
