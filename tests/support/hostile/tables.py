"""Tables and Parquet files that claim or unpack to much."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hostile.base import Hostile, MiB, Words, encoded, inspect_words, write_good_images


def table_inputs() -> Iterator[Hostile]:
    deep = b"[" * 200_000
    found: dict[str, tuple[str, bytes]] = {
        "line of 32 MiB": ("metadata.csv", b"file_name,text\na/0.png," + b"x" * (32 * MiB)),
        "200,000 columns": ("metadata.csv", b"file_name," + b",".join(b"c%d" % n for n in range(200_000)) + b"\n"),
        "quote that never ends": ("metadata.csv", b'file_name,text\na/0.png,"' + b"x\n" * MiB),
        "zero bytes": ("metadata.csv", b"file_name,text\n" + bytes(4 * MiB)),
        "paths that climb out": ("metadata.csv", b"file_name,text\n../../../../etc/hostname,a\n/etc/hostname,b\n"),
        "deep json": ("metadata.jsonl", deep),
        "number of a million digits": ("metadata.jsonl", b'{"file_name": "a/0.png", "label": 1' + b"0" * MiB + b"}"),
        "number beyond floats": ("metadata.jsonl", b'{"file_name": "a/0.png", "label": 1e999999}'),
        "lone surrogate": ("metadata.jsonl", b'{"file_name": "a/0.png", "text": "\\ud800"}'),
        "key a million times": ("metadata.jsonl", b"{" + b'"a": 1, ' * MiB + b'"file_name": "a/0.png"}'),
        "dataset.json that is deep": ("dataset.json", b'{"labels": ' + deep),
        "dataset.json of lists in lists": ("dataset.json", b'{"labels": [' + b'["a/0.png", [' * 50_000),
        "class names that are a number": ("dataset.json", b'{"labels": 5}'),
        "control characters": ("metadata.csv", b"file_name,text\na/0.png,\x1b]0;owned\x07\x1b[2J\n"),
        "bidi characters": ("metadata.csv", "file_name,text\na/0.png,\u202egnp.exe\n".encode()),
    }
    for name, (file, data) in found.items():

        def make(folder: Path, _: Path, file: str = file, data: bytes = data) -> Words:
            write_good_images(folder)
            (folder / file).write_bytes(data)
            return inspect_words(folder)

        yield Hostile(f"table: {name}", make)


def parquet_inputs() -> Iterator[Hostile]:
    image = encoded("PNG")

    def zeros(path: Path) -> None:
        pq.write_table(pa.table({"image": [image, bytes(300 * MiB)], "label": [0, 1]}), path, compression="zstd")

    def nulls(path: Path) -> None:
        rows = 20_000_000
        column = pa.nulls(rows, pa.binary())
        pq.write_table(pa.table({"image": column, "label": pa.nulls(rows, pa.int8())}), path, compression="zstd")

    def one_value(path: Path) -> None:
        column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(200_000, np.int32)), pa.array([bytes(4096)]))
        pq.write_table(pa.table({"image": column, "label": np.zeros(200_000, np.int8)}), path, compression="zstd")

    def deep(path: Path) -> None:
        kind: pa.DataType = pa.binary()
        for _ in range(60):
            kind = pa.struct([("a", kind)])
        pq.write_table(pa.table({"image": pa.nulls(3, kind), "label": [0, 1, 2]}), path)

    def wide(path: Path) -> None:
        pq.write_table(pa.table({"image": [image], **{f"c{n}": [0] for n in range(10_000)}}), path)

    def paths(path: Path) -> None:
        column = [{"bytes": None, "path": name} for name in ("/etc/hostname", "../../../etc/hostname", "\0")]
        pq.write_table(pa.table({"image": column, "label": [0, 1, 2]}), path)

    def footer(path: Path) -> None:
        pq.write_table(pa.table({"image": [image], "label": [0]}), path)
        data = path.read_bytes()
        path.write_bytes(data[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1")

    def cut(path: Path) -> None:
        pq.write_table(pa.table({"image": [image] * 50, "label": list(range(50))}), path)
        path.write_bytes(path.read_bytes()[:-40])

    def captions(path: Path) -> None:
        texts = [["x" * 1000] * 100_000, [None, "\ud7ff", ""]]
        pq.write_table(pa.table({"image": [image, image], "text": texts}), path, compression="zstd")

    found = {
        "image of 300 MiB of zeros": zeros, "20 million nulls": nulls, "one value 200,000 times": one_value,
        "sixty structs deep": deep, "10,000 columns": wide, "paths that lead out": paths,
        "footer of 2 GiB": footer, "cut at its end": cut, "100 MB of captions in a row": captions,
    }  # fmt: skip
    for name, write in found.items():

        def make(folder: Path, _: Path, write: Callable[[Path], None] = write) -> Words:
            write(folder / "x.parquet")
            return inspect_words(folder / "x.parquet")

        yield Hostile(f"parquet: {name}", make)
