"""Shard files: values in, bytes of a Zarr v3 sharding_indexed chunk out, and the other way round."""

import struct
from dataclasses import dataclass

import google_crc32c
import numpy as np

from stores.errors import CorruptStoreError
from stores.spec import ArraySpec

CHECKSUM_BYTES = 4
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class ShardFormat:
    """The geometry of one array's shards: `capacity` inner chunks of `record_bytes` values and a crc32c each.

    Chunk i begins at i * (record_bytes + 4); the index of (offset, length) pairs and its crc32c end the file.
    """

    array: ArraySpec
    views: int
    rows_per_shard: int

    @property
    def stride(self) -> int:
        """Bytes from one record to the next."""
        return self.array.record_bytes + CHECKSUM_BYTES

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
        """The file's bytes, in two parts: records and index. values: (rows, views, *row_shape) of the stored dtype."""
        records = np.empty((len(values) * self.views, self.stride), np.uint8)
        data = values.reshape(len(records), -1).view(np.uint8)  # (rows, views, ...) -> (rows*views, record_bytes)
        checksums = np.fromiter((google_crc32c.value(record) for record in data), "<u4", len(data))
        records[:, :-CHECKSUM_BYTES] = data
        records[:, -CHECKSUM_BYTES:] = checksums.view(np.uint8).reshape(-1, CHECKSUM_BYTES)
        return [records, self.encode_index(len(values))]

    def encode_index(self, rows: int) -> np.ndarray:
        """Offsets and lengths of the records of `rows` rows; the places of a short last shard are marked empty."""
        index = np.full((self.capacity, 2), _EMPTY, "<u8")
        used = rows * self.views
        index[:used, 0] = np.arange(used, dtype=np.uint64) * np.uint64(self.stride)
        index[:used, 1] = self.stride
        body = index.tobytes()
        return np.frombuffer(body + struct.pack("<I", google_crc32c.value(body)), np.uint8)

    def check_records(self, records: np.ndarray, place: str, first: int = 0) -> None:
        """Compare the checksum of each record, (n, stride) uint8; `first` is the number of the first one.

        Raises:
            CorruptStoreError: a record's bytes are not what was written.
        """
        for position, record in enumerate(records):
            (expected,) = struct.unpack("<I", record[-CHECKSUM_BYTES:].tobytes())
            found = google_crc32c.value(np.ascontiguousarray(record[:-CHECKSUM_BYTES]))
            if found != expected:
                row, view = divmod(first + position, self.views)
                raise CorruptStoreError(
                    f"{place}: row {row} of the shard, view {view}: expected crc32c {expected:08x}; found {found:08x}; "
                    "the file is damaged: run `fae-pipe stores verify --repair`"
                )

    def values(self, records: np.ndarray) -> np.ndarray:
        """(n, stride) uint8 -> (n, *row_shape) values, copied out from between the checksums."""
        data = np.ascontiguousarray(records[:, :-CHECKSUM_BYTES])
        return data.view(self.array.numpy_dtype).reshape(len(records), *self.array.row_shape)
