"""Sizes of images and grids in settings: one number for a square, or HEIGHTxWIDTH."""

import re
from typing import TypeAlias

Size: TypeAlias = int | str
"""A side, or `HEIGHTxWIDTH`; squares are always written as a side."""

AUTO_GRID, TOKEN_PIXELS = "auto", 16  # the paper: 256 pixels, 16×16 tokens; 384 pixels, 24×24
_OFFSETS = re.compile(r"([0-9]{1,5})[x×]([0-9]{1,5})")
_FORM = re.compile(r"([1-9][0-9]{0,4})(?:[x×]([1-9][0-9]{0,4}))?")


def parse_size(text: Size) -> Size:
    """The size in the form that settings have: `384`, `384x384` → 384, `384x320` as it is.

    Raises:
        ValueError: no size.
    """
    height, width = height_width(text)
    return height if height == width else f"{height}x{width}"


def height_width(size: Size) -> tuple[int, int]:
    """Height and width of a size.

    Raises:
        ValueError: no size.
    """
    found = _FORM.fullmatch(str(size))
    if found is None:
        raise ValueError(f"expected a number, or HEIGHTxWIDTH such as 320x192; received {size!r}")
    height, width = found.groups(default=found[1])
    return int(height), int(width)


def crop_offsets(crop: str | None) -> tuple[int, int]:
    """What is said to have been cut off above and on the left, in pixels; nothing when None.

    Raises:
        ValueError: no TOPxLEFT.
    """
    if crop is None:
        return 0, 0
    found = _OFFSETS.fullmatch(crop)
    if found is None:
        raise ValueError(f"sample.crop: expected TOPxLEFT in pixels, such as 0x64; received {crop!r}")
    return int(found[1]), int(found[2])
