"""Images that claim sizes, and folders that hold them."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from hostile.base import Hostile, MiB, Words, encoded, inspect_words, write_good_images


def png(width: int = 32, height: int = 32, text: bytes = b"") -> bytes:
    """A PNG that claims this size, with rows for 32×32, and a compressed text."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * (32 * (32 * 3 + 1)))
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    if text:
        parts.append(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(text, 9)))
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", rows), chunk(b"IEND", b"")])


def image_inputs() -> Iterator[Hostile]:
    """Beside sound images: one whose bytes lie."""
    jpeg = encoded("JPEG")
    frames = [Image.new("RGB", (8, 8), (n, n, n)) for n in range(200)]
    gif = io.BytesIO()
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:])
    found = {
        "png that claims 60000 × 60000": png(60_000, 60_000),
        "png that claims 2^31 rows": png(1, 2**31 - 1),
        "png with a text of 64 MiB": png(text=bytes(64 * MiB)),
        "png without rows": png()[:60],
        "jpeg that claims 65500 × 65500": jpeg.replace(b"\x00\x20\x00\x20", b"\xff\xdc\xff\xdc", 1),
        "jpeg cut after its header": jpeg[:200],
        "bmp that claims 2^30 columns": encoded("BMP")[:18] + struct.pack("<i", 2**30) + encoded("BMP")[22:],
        "tiff whose directory points at itself": b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0",
        "gif of 200 frames": gif.getvalue(),
        "webp that claims 16383 × 16383": encoded("WEBP")[:26] + b"\xff\x3f\xff\x3f" + encoded("WEBP")[30:],
        "ppm that claims 10^9 columns": b"P6 1000000000 1 255\n" + bytes(12),
        "empty file": b"",
        "html page": b"<html>not found</html>",
    }
    for name, data in found.items():

        def make(folder: Path, _: Path, data: bytes = data) -> Words:
            write_good_images(folder)
            (folder / "a" / "odd.png").write_bytes(data)
            return inspect_words(folder)

        yield Hostile(f"image: {name}", make)
