"""Reads a store by docs/store-format.md alone: Python's own library and numpy, nothing of this project.

python minimal_reader.py STORE ARRAY ROW [VIEW]
"""

import hashlib
import json
import struct
import sys
from pathlib import Path

import numpy as np

POLYNOMIAL = 0x82F63B78  # crc32c (Castagnoli), bits reversed
CRC_TABLE = [0] * 256
for byte in range(256):
    value = byte
    for _ in range(8):
        value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    CRC_TABLE[byte] = value


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def canonical(record, without):
    rest = {key: item for key, item in record.items() if key != without}
    return json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Reader:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.manifest = json.loads((self.folder / "manifest.json").read_bytes())
        expect("format", self.manifest["format"], "fae-store")
        expect("status", self.manifest["status"], "complete")
        expect("digest", sha256(canonical(self.manifest, "manifest_sha256")), self.manifest["manifest_sha256"])

    def read(self, name, row, view=0):
        """The record of an array at (row, view), after its checksum and its place in the index were compared."""
        about = json.loads((self.folder / "data.zarr" / name / "zarr.json").read_bytes())
        views, shape = about["shape"][1], about["shape"][2:]
        rows_per_shard = about["chunk_grid"]["configuration"]["chunk_shape"][0]
        shard, row = divmod(row, rows_per_shard)
        separator = about["chunk_key_encoding"]["configuration"]["separator"]
        key = separator.join(["c", str(shard), "0", *("0" for _ in shape)])
        data = (self.folder / "data.zarr" / name / key).read_bytes()
        dtype = np.dtype(about["data_type"]).newbyteorder("<")
        stride = int(np.prod(shape)) * dtype.itemsize + 4
        number, capacity = row * views + view, rows_per_shard * views
        index = data[-(16 * capacity + 4) :]
        expect("index", crc32c(index[:-4]), *struct.unpack("<I", index[-4:]))
        expect("place", struct.unpack_from("<QQ", index, 16 * number), (number * stride, stride))
        record = data[number * stride : (number + 1) * stride]
        expect("record", crc32c(record[:-4]), *struct.unpack("<I", record[-4:]))
        return np.frombuffer(record[:-4], dtype).reshape(shape)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def expect(what, found, expected):
    if found != expected:
        raise ValueError(f"{what}: expected {expected}; received {found}")


if __name__ == "__main__":
    print(Reader(sys.argv[1]).read(sys.argv[2], int(sys.argv[3]), int((sys.argv[4:] or ["0"])[0])))
