"""A grid of samples, each with its caption below when it has one."""

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fae.images import image_grid

FONT_SIZE, LINE_PIXELS, MAX_LINES = 10, 12, 5
CHARACTER_PIXELS = 5.2  # of the default font at this size, about
CAPTIONED_WIDTH = 112  # narrower images are enlarged for their captions, by whole multiples


def sample_grid(images: np.ndarray, captions: Sequence[str] | None, columns: int) -> Image.Image:
    """uint8 images (N, H, W, 3), `columns` a row, with captions below them."""
    if captions is None:
        return image_grid(images, columns)
    times = -(-CAPTIONED_WIDTH // images.shape[2])
    enlarged = images.repeat(times, axis=1).repeat(times, axis=2)  # (N, H, W, 3) -> (N, H·times, W·times, 3)
    width = enlarged.shape[2]
    texts = [
        textwrap.wrap(caption, int(width / CHARACTER_PIXELS), max_lines=MAX_LINES, placeholder=" …")
        for caption in captions
    ]
    lines = max(1, *map(len, texts))
    strips = np.stack([_strip(text, width, lines) for text in texts])
    return image_grid(np.concatenate([enlarged, strips], axis=1), columns, gap=6)


def _strip(text: Sequence[str], width: int, lines: int) -> np.ndarray:
    """Lines of text as uint8 (lines · LINE_PIXELS + 4, width, 3)."""
    sheet = Image.new("RGB", (width, lines * LINE_PIXELS + 4), "white")
    font = ImageFont.load_default(FONT_SIZE)
    for number, line in enumerate(text, 1):
        ImageDraw.Draw(sheet).text((1, number * LINE_PIXELS), line, (110, 110, 122), font, anchor="ls")
    return np.asarray(sheet)
