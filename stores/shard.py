"""Shard files: values in, bytes of a Zarr v3 sharding_indexed chunk out, and the other way round."""

import struct
from dataclasses import dataclass

import google_crc32c
import numpy as np

from stores.errors import CorruptStoreError
from stores.spec import Part

CHECKSUM_BYTES = 4
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class ShardFormat:
    """The geometry of one Zarr array's shards: `capacity` inner chunks of `record_bytes` values and a crc32c each.

    Chunk i begins at i * (record_bytes + 4); the index of (offset, length) pairs and its crc32c end the file.
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
        return self.rows_per_shard * self.views

    @property
    def index_bytes(self) -> int:
        """Bytes of the index with its checksum."""
        return 16 * self.capacity + CHECKSUM_BYTES

    def num_bytes(self, rows: int) -> int:
        """Size of the file of a shard of so many rows."""
        return rows * self.views * self.stride + self.index_bytes

    def encode(self, values: np.ndarray) -> list[np.ndarray]:
        """The file's bytes as buffers to be joined, none of them a copy of `values` (rows, views, *row_shape)."""
        records = values.reshape(len(values) * self.views, -1).view(np.uint8)  # (rows*views, record_bytes)
        checksums = np.fromiter((google_crc32c.value(record) for record in records), "<u4", len(records))
        tails = checksums.view(np.uint8).reshape(-1, CHECKSUM_BYTES)
        pairs = [piece for pair in zip(records, tails, strict=True) for piece in pair]
        return [*pairs, self.encode_index(len(values))]

    def encode_index(self, rows: int) -> np.ndarray:
        """Offsets and lengths of the records of `rows` rows; the places of a short last shard are marked empty."""
        index = np.full((self.capacity, 2), _EMPTY, "<u8")
        used = rows * self.views
        index[:used, 0] = np.arange(used, dtype=np.uint64) * np.uint64(self.stride)
        index[:used, 1] = self.stride
        body = index.tobytes()
        return np.frombuffer(body + struct.pack("<I", google_crc32c.value(body)), np.uint8)

    def damaged(self, records: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Which of the records `wanted` (positions in `records`, (n, stride) uint8) do not fit their checksum."""
        bodies = records[:, :-CHECKSUM_BYTES]
        found = np.fromiter((google_crc32c.value(bodies[i]) for i in wanted), "<u4", len(wanted))
        written = np.ascontiguousarray(records[wanted, -CHECKSUM_BYTES:]).view("<u4").reshape(-1)
        return wanted[found != written]

    def check_records(self, records: np.ndarray, wanted: np.ndarray, place: str, first: int) -> None:
        """Compare the checksums of some records, (n, stride) uint8 from number `first` of a shard on.

        Raises:
            CorruptStoreError: a record's bytes are not what was written.
        """
        damaged = self.damaged(records, wanted)
        if len(damaged):
            row, view = divmod(first + int(damaged[0]), self.views)
            raise CorruptStoreError(
                f"{place}: row {row} of the shard, view {view}: expected values that fit their crc32c; "
                "the file is damaged: run `fae-pipe stores verify --repair`"
            )

    def values(self, records: np.ndarray) -> np.ndarray:
        """(n, stride) uint8 -> (n, *row_shape) values, copied out from between the checksums."""
        data = np.ascontiguousarray(records[:, :-CHECKSUM_BYTES])
        return data.view(self.part.numpy_dtype).reshape(len(records), *self.part.row_shape)
