"""Grids of images with labels below them and names beside their rows, as samples, previews and reports show them."""

import textwrap
from collections.abc import Sequence
from functools import reduce

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fae.images import image_grid

FONT_SIZE, LINE_PIXELS, MAX_LINES = 10, 12, 5
CHARACTER_PIXELS = 5.2  # of the default font at this size, about
LABELED_WIDTH = 112  # narrower images are enlarged for captions, by whole multiples
SHORT_CHARACTERS, SHORT_WIDTH = 10, 64  # short labels (a digit, a class of one word) fit below smaller images
GAP, INK = 6, (90, 90, 102)


def labeled_grid(
    images: Sequence[np.ndarray] | np.ndarray,
    columns: int,
    labels: Sequence[str] | None = None,
    row_names: Sequence[str] = (),
) -> Image.Image:
    """Images side by side on white, `columns` a row, with labels, and with names before the rows.

    Labels that are the same in every row stand once, above their columns; others below each image. Small images are
    enlarged by whole multiples until there is room for their labels.

    Args:
        images: uint8 (N, H, W, 3), or N images (H, W, 3) of one size.
        columns: Images a row.
        labels: A class name or caption for each image; none where absent or all empty.
        row_names: Names of the first rows, such as original and rebuilt.

    Raises:
        ValueError: Images or labels of other numbers or types.
    """
    array = np.stack(list(images)) if len(images) else np.zeros((0, 1, 1, 3), np.uint8)
    if labels is not None and len(labels) != len(array):
        raise ValueError(f"labels: expected one for each of {len(array)} images; received {len(labels)}")
    texts = list(labels) if labels is not None and any(labels) else None
    if texts is not None:
        array = _enlarged(array, texts)
    heads = _column_heads(texts, columns)
    if texts is not None and heads is None:
        array = np.concatenate([array, _strips(texts, array.shape[2])], axis=1)
    grid = image_grid(array, columns, gap=GAP if texts is not None or row_names else 2)
    if heads is not None:
        grid = _below(image_grid(_strips(heads, array.shape[2]), columns, gap=GAP), grid)
    return _beside(grid, row_names, array.shape[1], grid.height - _rows_height(array, columns)) if row_names else grid


def paired_grid(originals: np.ndarray, rebuilt: np.ndarray, columns: int) -> Image.Image:
    """Rows of originals, each above the row of what was rebuilt of them: uint8 (N, H, W, 3) both."""
    columns = min(columns, len(originals))
    blank = np.full((-len(originals) % columns, *originals.shape[1:]), 255, np.uint8)
    pair = np.stack([np.concatenate([part, blank]) for part in (originals, rebuilt)])  # (2, N, H, W, 3)
    rows = pair.reshape(2, -1, columns, *originals.shape[1:]).swapaxes(0, 1)  # (rows, 2, columns, H, W, 3)
    names = ["original", "rebuilt"] * len(rows)
    return labeled_grid(rows.reshape(-1, *originals.shape[1:]), columns, row_names=names)


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Grids of images of several sizes below each other on white."""
    return reduce(_below, sheets)


def class_label(label: int, names: Sequence[str] | None) -> str:
    """A class by its name, else its id; nothing for samples of no class (-1)."""
    return "" if label < 0 else names[label] if names and label < len(names) else str(label)


def _enlarged(array: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """(N, H, W, 3) -> (N, H·k, W·k, 3), wide enough for the labels."""
    wanted = SHORT_WIDTH if max(map(len, texts)) <= SHORT_CHARACTERS else LABELED_WIDTH
    times = -(-wanted // array.shape[2])
    return array.repeat(times, axis=1).repeat(times, axis=2)


def _column_heads(texts: Sequence[str] | None, columns: int) -> list[str] | None:
    """The labels of the columns, where every row of several has the same ones."""
    if texts is None or len(texts) <= columns:
        return None
    same = all(text == texts[number % columns] for number, text in enumerate(texts))
    return list(texts[:columns]) if same else None


def _strips(texts: Sequence[str], width: int) -> np.ndarray:
    """Labels as uint8 (N, h, width, 3), all as high as the longest needs."""
    room = max(1, int(width / CHARACTER_PIXELS))
    wrapped = [textwrap.wrap(text, room, max_lines=MAX_LINES, placeholder=" …") for text in texts]
    lines = max(1, *map(len, wrapped))
    return np.stack([_strip(text, width, lines) for text in wrapped])


def _strip(text: Sequence[str], width: int, lines: int) -> np.ndarray:
    """Lines of text as uint8 (lines · LINE_PIXELS + 4, width, 3)."""
    sheet = Image.new("RGB", (width, lines * LINE_PIXELS + 4), "white")
    for number, line in enumerate(text, 1):
        ImageDraw.Draw(sheet).text((1, number * LINE_PIXELS), line, INK, _font(), anchor="ls")
    return np.asarray(sheet)


def _below(head: Image.Image, grid: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (max(head.width, grid.width), head.height + grid.height), "white")
    sheet.paste(head, (0, 0))
    sheet.paste(grid, (0, head.height))
    return sheet


def _rows_height(array: np.ndarray, columns: int) -> int:
    """Pixels of all rows of a grid with the wide gap."""
    rows = -(-len(array) // columns)
    return rows * (int(array.shape[1]) + GAP) - GAP


def _beside(grid: Image.Image, names: Sequence[str], height: int, top: int) -> Image.Image:
    """The grid with a name at the middle of each of its first rows."""
    width = int(max(_font().getlength(name) for name in names)) + 2 * GAP
    sheet = Image.new("RGB", (width + grid.width, grid.height), "white")
    sheet.paste(grid, (width, 0))
    for row, name in enumerate(names):
        middle = top + row * (height + GAP) + height // 2
        ImageDraw.Draw(sheet).text((width - GAP, middle), name, INK, _font(), anchor="rm")
    return sheet


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)
