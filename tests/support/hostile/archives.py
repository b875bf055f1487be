"""Tars and zips that claim, unpack to, or point to more than they hold."""

import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hostile.base import Hostile, MiB, Words, encoded, inspect_words


def tar_inputs() -> Iterator[Hostile]:
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

    image = encoded("PNG")
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
            return inspect_words(folder / file)

        yield Hostile(f"tar: {name}", make)


def _nested(inner: bytes, header: Callable[..., bytes], depth: int) -> bytes:
    for level in range(depth):
        inner = header(f"{level}.tar", len(inner)) + inner + bytes(-len(inner) % 512) + bytes(1024)
    return inner


def zip_inputs() -> Iterator[Hostile]:
    def archive(members: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in members.items():
                file.writestr(name, data)
        return out.getvalue()

    image = encoded("PNG")
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
            return inspect_words(folder / "x.zip")

        yield Hostile(f"zip: {name}", make)
