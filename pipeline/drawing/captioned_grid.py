"""A grid of samples, each with its caption below when it has one."""

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image

from fae.images import image_grid
from pipeline.drawing.canvas import FAINT, Canvas

FONT_SIZE, LINE_PIXELS, MOST_LINES = 10, 12, 5
# Of the default font at this size, about; a line that is longer runs into nothing but the gap.
CHARACTER_PIXELS = 5.2
CAPTIONED_WIDTH = 112  # narrower images are made wider for their captions, by whole multiples


def sample_grid(images: np.ndarray, captions: Sequence[str] | None, columns: int) -> Image.Image:
    """uint8 images (N, H, W, 3), `columns` a row, with captions below them."""
    if captions is None:
        return image_grid(images, columns)
    times = -(-CAPTIONED_WIDTH // images.shape[2])
    shown = images.repeat(times, axis=1).repeat(times, axis=2)  # (N, H, W, 3) -> (N, H·times, W·times, 3)
    texts = [_wrapped(caption, shown.shape[2]) for caption in captions]
    lines = max(len(text) for text in texts)
    strips = np.stack([_strip(text, shown.shape[2], lines) for text in texts])
    return image_grid(np.concatenate([shown, strips], axis=1), columns, gap=6)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, int(width / CHARACTER_PIXELS), max_lines=MOST_LINES, placeholder=" …") or [""]


def _strip(text: list[str], width: int, lines: int) -> np.ndarray:
    """Lines of text as uint8 (lines · LINE_PIXELS + 4, width, 3)."""
    sheet = Canvas(width, lines * LINE_PIXELS + 4, " ".join(text))
    for number, line in enumerate(text, 1):
        sheet.text(1, number * LINE_PIXELS, line, FONT_SIZE, FAINT)
    with Image.open(io.BytesIO(sheet.png())) as image:
        return np.asarray(image.convert("RGB"))
