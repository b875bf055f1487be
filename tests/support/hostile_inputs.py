"""Makers of small inputs that ask for much, lie about their size or lead astray: each is written below a folder.

A maker's name says what it makes; what it returns are the words of the command that reads it. All of them are harmless
where sizes, depths and paths are checked.
"""

import gzip
import io
import json
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

MiB = 1 << 20
Words = list[str]


@dataclass(frozen=True)
class Hostile:
    """One input: what it is, and (folder, stores) -> words of a command, once it is written there."""

    name: str
    make: Callable[[Path, Path], Words]

    def __str__(self) -> str:
        return self.name


def all_inputs() -> list[Hostile]:
    """Every one, in the order of the kinds."""
    return [*_images(), *_tars(), *_zips(), *_tables(), *_parquet(), *_folders(), *_stores(), *_imports(), *_recipes()]


def _png(width: int = 32, height: int = 32, text: bytes = b"") -> bytes:
    """A PNG that claims this size, with rows for 32×32, and a compressed text."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * (32 * (32 * 3 + 1)))
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    if text:
        parts.append(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(text, 9)))
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", rows), chunk(b"IEND", b"")])


def _encoded(kind: str, size: tuple[int, int] = (32, 32), color: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (color, color, color)).save(out, kind)
    return out.getvalue()


def _good(folder: Path, count: int = 4) -> None:
    """Some sound images in two classes."""
    for number in range(count):
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(_encoded("PNG", color=number * 40))


def _inspect(path: Path) -> Words:
    return ["inspect", str(path), "--json"]


def _images() -> Iterator[Hostile]:
    """Beside sound images: one whose bytes lie."""
    jpeg = _encoded("JPEG")
    frames = [Image.new("RGB", (8, 8), (n, n, n)) for n in range(200)]
    gif = io.BytesIO()
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:])
    found = {
        "png that claims 60000 × 60000": _png(60_000, 60_000),
        "png that claims 2^31 rows": _png(1, 2**31 - 1),
        "png with a text of 64 MiB": _png(text=bytes(64 * MiB)),
        "png without rows": _png()[:60],
        "jpeg that claims 65500 × 65500": jpeg.replace(b"\x00\x20\x00\x20", b"\xff\xdc\xff\xdc", 1),
        "jpeg cut after its header": jpeg[:200],
        "bmp that claims 2^30 columns": _encoded("BMP")[:18] + struct.pack("<i", 2**30) + _encoded("BMP")[22:],
        "tiff whose directory points at itself": b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0",
        "gif of 200 frames": gif.getvalue(),
        "webp that claims 16383 × 16383": _encoded("WEBP")[:26] + b"\xff\x3f\xff\x3f" + _encoded("WEBP")[30:],
        "ppm that claims 10^9 columns": b"P6 1000000000 1 255\n" + bytes(12),
        "empty file": b"",
        "html page": b"<html>not found</html>",
    }
    for name, data in found.items():

        def make(folder: Path, _: Path, data: bytes = data) -> Words:
            _good(folder)
            (folder / "a" / "odd.png").write_bytes(data)
            return _inspect(folder)

        yield Hostile(f"image: {name}", make)


def _tars() -> Iterator[Hostile]:
    def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        raw = bytearray(info.tobuf(format=tarfile.GNU_FORMAT))
        raw[124:136] = b"\x80" + size.to_bytes(11, "big")  # base-256
        raw[148:156] = b" " * 8
        raw[148:156] = f"{sum(raw):06o}\0 ".encode()
        return bytes(raw)

    def pax(text: str) -> bytes:
        data = text.encode()
        return header("x", len(data), tarfile.XHDTYPE) + data + bytes(-len(data) % 512)

    image = _encoded("PNG")
    sound = header("a/1.png", len(image)) + image + bytes(-len(image) % 512)
    zeros, end = bytes(300 * MiB), bytes(1024)
    many = b"".join(header(f"a/{n}.png", 0) for n in range(20_000))
    found: dict[str, tuple[str, Callable[[], bytes]]] = {
        "member of 2^60 bytes": ("x.tar", lambda: sound + header("a/2.png", 2**60) + image),
        "member of 2^87 bytes": ("x.tar", lambda: sound + header("a/2.png", 2**87) + image),
        "long name of 2^40 bytes": ("x.tar", lambda: sound + header("n", 2**40, tarfile.GNUTYPE_LONGNAME) + image),
        "pax record of 2^40 bytes": ("x.tar", lambda: sound + header("n", 2**40, tarfile.XHDTYPE) + image),
        "pax size of 10^15": ("x.tar", lambda: sound + pax("25 size=1000000000000000\n") + sound + end),
        "pax record longer than its header": ("x.tar", lambda: sound + pax("99999 path=a\n") + sound + end),
        "pax record of length 0": ("x.tar", lambda: sound + pax("0 path=a\n") + sound + end),
        "20,000 empty members": ("x.tar", lambda: sound + many + end),
        "links in a ring": (
            "x.tar",
            lambda: (
                sound
                + header("a/2.png", 0, tarfile.SYMTYPE, "3.png")
                + header("a/3.png", 0, tarfile.SYMTYPE, "2.png")
                + end
            ),
        ),
        "link out of the archive": ("x.tar", lambda: sound + header("a/2.png", 0, tarfile.SYMTYPE, "/etc/hostname")),
        "absolute and climbing names": ("x.tar", lambda: sound + header("/tmp/e.png", 0) + header("../../e.png", 0)),
        "fifo and device": (
            "x.tar",
            lambda: sound + header("a/2.png", 0, tarfile.FIFOTYPE) + header("a/3.png", 0, tarfile.CHRTYPE),
        ),
        "gzip of 300 MiB of zeros": ("x.tar.gz", lambda: gzip.compress(sound + zeros, 9)),
        "xz of 300 MiB of zeros": ("x.tar.xz", lambda: lzma.compress(sound + zeros, preset=0)),
        "gzip cut in the middle": ("x.tar.gz", lambda: gzip.compress(sound + many + end)[:4000]),
        "tar within a tar within a tar": ("x.tar", lambda: _nested(sound + end, header, 20)),
        "zeros alone": ("x.tar", lambda: bytes(20 * MiB)),
    }
    for name, (file, data) in found.items():

        def make(folder: Path, _: Path, file: str = file, data: Callable[[], bytes] = data) -> Words:
            (folder / file).write_bytes(data())
            return _inspect(folder / file)

        yield Hostile(f"tar: {name}", make)


def _nested(inner: bytes, header: Callable[..., bytes], depth: int) -> bytes:
    for level in range(depth):
        inner = header(f"{level}.tar", len(inner)) + inner + bytes(-len(inner) % 512) + bytes(1024)
    return inner


def _zips() -> Iterator[Hostile]:
    def archive(members: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in members.items():
                file.writestr(name, data)
        return out.getvalue()

    image = _encoded("PNG")
    plain = archive({"a/1.png": image, "b/2.png": image})
    directory = plain.index(b"PK\x01\x02")
    found = {
        "image of 300 MiB of zeros": lambda: archive({"a/1.png": image, "a/2.png": bytes(300 * MiB)}),
        "table of 300 MiB of spaces": lambda: archive({"a/1.png": image, "metadata.csv": b" " * (300 * MiB)}),
        "30,000 empty members": lambda: archive({"a/1.png": image, **{f"a/{n}": b"" for n in range(30_000)}}),
        "names that climb out": lambda: archive({"a/1.png": image, "../../e.png": image, "/etc/e.png": image}),
        "one image under two names": lambda: plain[:directory] + plain[directory:].replace(b"b/2", b"a/1"),
        "member that claims 4 GiB": lambda: plain[: directory + 24] + b"\xfe\xff\xff\xff" + plain[directory + 28 :],
        "member that begins outside": lambda: plain[: directory + 42] + b"\xf0\xff\xff\xff" + plain[directory + 46 :],
        "directory of 65535 members": lambda: plain[:-12] + b"\xff\xff\xff\xff" + plain[-8:],
        "cut in the middle": lambda: plain[: len(plain) // 2],
        "zip within a zip": lambda: archive({"a/1.png": image, "b.zip": archive({"c.zip": plain})}),
    }
    for name, data in found.items():

        def make(folder: Path, _: Path, data: Callable[[], bytes] = data) -> Words:
            (folder / "x.zip").write_bytes(data())
            return _inspect(folder / "x.zip")

        yield Hostile(f"zip: {name}", make)


def _tables() -> Iterator[Hostile]:
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
            _good(folder)
            (folder / file).write_bytes(data)
            return _inspect(folder)

        yield Hostile(f"table: {name}", make)


def _parquet() -> Iterator[Hostile]:
    image = _encoded("PNG")

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
            return _inspect(folder / "x.parquet")

        yield Hostile(f"parquet: {name}", make)


def _folders() -> Iterator[Hostile]:
    def fifo(folder: Path) -> None:
        os.mkfifo(folder / "a" / "pipe.png")

    def fifo_table(folder: Path) -> None:
        os.mkfifo(folder / "metadata.csv")

    def device(folder: Path) -> None:
        (folder / "a" / "zero.png").symlink_to("/dev/zero")

    def device_table(folder: Path) -> None:
        (folder / "metadata.jsonl").symlink_to("/dev/zero")

    def ring(folder: Path) -> None:
        (folder / "a" / "up").symlink_to(folder, target_is_directory=True)
        (folder / "b" / "x.png").symlink_to(folder / "b" / "x.png")

    def deep(folder: Path) -> None:
        place = folder
        for level in range(200):
            place = place / f"d{level}"
        place.mkdir(parents=True)
        shutil.copy(folder / "a" / "0.png", place)

    def odd_names(folder: Path) -> None:
        for name in (b"\xff\xfe.png", b"\x1b[2J.png", b"a\nb.png", b"x" * 250 + b".png"):
            with open(os.path.join(os.fsencode(folder / "a"), name), "wb") as file:
                file.write(_encoded("PNG"))

    def classes(folder: Path) -> None:
        for number in range(3000):
            (folder / f"class-{number}").mkdir()

    def closed(folder: Path) -> None:
        (folder / "a").rename(folder / "a.png")

    def sparse(folder: Path) -> None:
        with open(folder / "a" / "huge.png", "wb") as file:
            file.truncate(1 << 40)

    def sparse_text(folder: Path) -> None:
        with open(folder / "a" / "0.txt", "wb") as file:
            file.truncate(1 << 40)

    found = {
        "pipe for an image": fifo, "pipe for a table": fifo_table, "device for an image": device,
        "device for a table": device_table, "links in a ring": ring, "200 folders deep": deep, "odd names": odd_names,
        "3,000 empty classes": classes, "folder called .png": closed, "image of 1 TiB": sparse,
        "caption of 1 TiB": sparse_text,
    }  # fmt: skip
    for name, change in found.items():

        def make(folder: Path, _: Path, change: Callable[[Path], None] = change) -> Words:
            _good(folder)
            change(folder)
            return _inspect(folder)

        yield Hostile(f"folder: {name}", make)


def _stores() -> Iterator[Hostile]:
    """Copies of a whole store with one part changed; verify reads every byte of them."""

    def shard(store: Path) -> Path:
        found = (path for path in (store / "data.zarr").rglob("*") if path.is_file() and path.name != "zarr.json")
        return min(found)

    def pipe(store: Path, name: str) -> None:
        (store / name).unlink()
        os.mkfifo(store / name)

    def device(store: Path, path: Path) -> None:
        path.unlink()
        path.symlink_to("/dev/zero")

    def claim(store: Path, **claims: object) -> None:
        record = json.loads((store / "manifest.json").read_bytes())
        (store / "manifest.json").write_text(json.dumps(record | claims))

    def index(store: Path) -> None:
        pq.write_table(pa.table({"key": pa.nulls(20_000_000, pa.string())}), store / "index.parquet")

    def sparse(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(1 << 40)

    found: dict[str, Callable[[Path], object]] = {
        "manifest that is a pipe": lambda store: pipe(store, "manifest.json"),
        "index that is a pipe": lambda store: pipe(store, "index.parquet"),
        "shard that is a device": lambda store: device(store, shard(store)),
        "manifest that is a device": lambda store: device(store, store / "manifest.json"),
        "manifest of 1 TiB": lambda store: sparse(store / "manifest.json"),
        "shard of 1 TiB": lambda store: sparse(shard(store)),
        "10^15 rows": lambda store: claim(store, num_rows=10**15),
        "negative rows": lambda store: claim(store, num_rows=-1),
        "rows that are a text": lambda store: claim(store, num_rows="many"),
        "no arrays": lambda store: claim(store, arrays=[]),
        "deep manifest": lambda store: (store / "manifest.json").write_text("[" * 300_000),
        "deep record": lambda store: (store / "commits" / "0.json").write_text('{"a":' * 100_000),
        "deep zarr.json": lambda store: next(store.glob("data.zarr/*/zarr.json")).write_text("[" * 300_000),
        "index of 20 million nulls": index,
        "link to itself for a shard": lambda store: (shard(store).unlink(), (store / "loop").symlink_to("loop")),
    }
    for name, change in found.items():

        def make(folder: Path, stores: Path, change: Callable[[Path], object] = change) -> Words:
            (store,) = (stores / "features").iterdir()
            copy = folder / "runs" / "features" / store.name
            shutil.copytree(store, copy)
            change(copy)
            return ["verify", str(copy), "--json"]

        yield Hostile(f"store: {name}", make)


def _imports() -> Iterator[Hostile]:
    def npy(shape: str, descr: str = "'<f2'", body: bytes = bytes(64)) -> bytes:
        text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
        text += " " * (-(len(text) + 11) % 64) + "\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body

    def tensors(header: bytes, body: bytes = bytes(64), length: int | None = None) -> bytes:
        return struct.pack("<Q", len(header) if length is None else length) + header + body

    claim = b'{"latents":{"dtype":"F16","shape":[1000000000,32,16,16],"data_offsets":[0,64]}}'
    behind = b'{"latents":{"dtype":"F16","shape":[1,32,1,1],"data_offsets":[99999999,99999999999]}}'
    found: dict[str, tuple[str, bytes]] = {
        "safetensors header of 2^60 bytes": ("x.safetensors", tensors(b"{}", length=2**60)),
        "safetensors that claims 10^9 rows": ("x.safetensors", tensors(claim)),
        "safetensors that points behind its end": ("x.safetensors", tensors(behind)),
        "safetensors with a deep header": ("x.safetensors", tensors(b'{"a":' * 100_000)),
        "npz of 300 MiB of zeros": ("x.npz", _zipped("arr_0.npy", npy("(1, 32, 16, 16)", body=bytes(300 * MiB)))),
        "npz that claims 10^12 rows": ("x.npz", _zipped("arr_0.npy", npy("(1000000000000, 32, 16, 16)"))),
        "npz of objects": ("x.npz", _zipped("arr_0.npy", npy("(1,)", "'|O'", b"cos\nsystem\n"))),
        "npz whose header is no literal": ("x.npz", _zipped("arr_0.npy", npy("__import__('os')"))),
        "npy with 100,000 dimensions": ("x_features/0.npy", npy("(" + "1," * 15_000 + ")")),
    }
    for name, (file, data) in found.items():

        def make(folder: Path, _: Path, file: str = file, data: bytes = data) -> Words:
            (folder / "in" / file).parent.mkdir(parents=True)
            (folder / "in" / file).write_bytes(data)
            return ["stores", "import", str(folder / "in"), "--name", "x", "--root", str(folder / "runs"), "--json"]

        yield Hostile(f"import: {name}", make)


def _zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, data)
    return out.getvalue()


def _recipes() -> Iterator[Hostile]:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))
    found = {
        "aliases of aliases": f"a0: &a0 [x]\n{levels}\n",
        "lists in lists": "name: " + "[" * 20_000,
        "python object": "name: !!python/object/apply:os.getcwd []\n",
        "text of 32 MiB": "name: '" + "x" * (32 * MiB) + "'\n",
        "control characters in a key": 'name: x\n"\\x1b[2Jextract": {}\n',
        "keys that are lists": "? [a, b]\n: c\n",
        "name that climbs out": "name: ../../etc\n",
    }
    for name, text in found.items():

        def make(folder: Path, _: Path, text: str = text) -> Words:
            (folder / "r.yaml").write_text(text)
            return ["run", str(folder / "r.yaml"), "--root", str(folder / "runs"), "--dry-run", "--json"]

        yield Hostile(f"recipe: {name}", make)
