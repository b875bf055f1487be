"""What the makers of hostile inputs share: the inputs' type, small sound images, and images that lie."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


def encoded(kind: str, size: tuple[int, int] = (32, 32), color: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (color, color, color)).save(out, kind)
    return out.getvalue()


def write_good_images(folder: Path, count: int = 4) -> None:
    """Some sound images in two classes."""
    for number in range(count):
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(encoded("PNG", color=number * 40))


def inspect_words(path: Path) -> Words:
    return ["inspect", str(path), "--json"]
