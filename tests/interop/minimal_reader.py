"""Reads a store by docs/store-format.md alone: Python's own library and numpy, nothing of this project.

python minimal_reader.py STORE ARRAY ROW [VIEW]
"""

import hashlib
import json
import struct
import sys
from pathlib import Path

import numpy as np

CRC_TABLE = [0] * 256
for byte in range(256):
    value = byte
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # crc32c (Castagnoli), bits reversed
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
        """The record of an array at (row, view), or its sequence of tokens, which `<name>_span` finds."""
        if (self.folder / "data.zarr" / f"{name}_span").exists():
            first, past = self.read(f"{name}_span", row, view).tolist()
            return self.tokens(name, first, past) if first >= 0 else None
        shard, row = divmod(row, self.manifest["rows_per_shard"])
        return self.record(name, shard, row * self.manifest["views"] + view)[0, 0]

    def tokens(self, name, first, past):
        """The tokens at the positions first to past - 1 of a ragged array."""
        _, shape, capacity = self.geometry(name)
        numbers = range(first // shape[0], -(-past // shape[0]))
        chunks = [self.record(name, *divmod(number, capacity)) for number in numbers]
        return np.concatenate(chunks or [np.zeros((0, *shape[1:]))])[first % shape[0] :][: past - first]

    def geometry(self, name):
        """An array's metadata, the shape of a record, and how many records a full shard has."""
        about = json.loads((self.folder / "data.zarr" / name / "zarr.json").read_bytes())
        shard, shape = about["chunk_grid"], about["codecs"][0]["configuration"]["chunk_shape"]
        return about, shape, int(np.prod(shard["configuration"]["chunk_shape"])) // int(np.prod(shape))

    def record(self, name, shard, number):
        """A record of a shard, after its checksum and its place in the index were compared."""
        about, shape, capacity = self.geometry(name)
        separator = about["chunk_key_encoding"]["configuration"]["separator"]
        key = separator.join(["c", str(shard), *"0" * (len(shape) - 1)])
        data = (self.folder / "data.zarr" / name / key).read_bytes()
        dtype = np.dtype(about["data_type"]).newbyteorder("<")
        stride = int(np.prod(shape)) * dtype.itemsize + 4
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
