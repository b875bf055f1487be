"""Figures of a probe: patches matched across images, similarity within one, and tokens as colors."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fae.probes import PrincipalColors, cosines
from jobs.evaluation import KINDS, Pair
from pipeline.drawing.canvas import FAINT, STRONG, Canvas, Color

NAMES = {"x": "features x", "z": "latents z", "x_hat": "rebuilt features"}
_MARGIN, _HEAD, _GAP, _SIDE = 24, 96, 20, 208
_DIM = 0.45
_LIGHT: Color = (244, 248, 252)
_MARK: Color = (214, 91, 51)


@dataclass(frozen=True)
class Shown:
    """The pairs of the figures, a line of text for each, and their images uint8 (pairs, 2, H, W, 3) if any."""

    pairs: Sequence[Pair]
    names: Sequence[str]
    images: np.ndarray | None

    @cached_property
    def colors(self) -> dict[str, PrincipalColors]:
        """Colors of each kind of token: x's own, for x̂ the same, for z its three components turned towards x's."""
        x, z = (_tokens(self.pairs, kind) for kind in ("x", "z"))
        of_x = PrincipalColors.fit(x)
        return {"x": of_x, "x_hat": of_x, "z": PrincipalColors.fit(z).turned_to(z, of_x.components(x))}

    def token_colors(self, number: int, side: int, kind: str) -> np.ndarray:
        """The tokens of an image (side 0 or 1 of a pair) as colors, uint8 (h, w, 3)."""
        return self.colors[kind].to_rgb(self.pairs[number].tokens[kind][side]).numpy()

    def ground(self, number: int, side: int, kind: str) -> np.ndarray:
        """What lines are drawn upon: the image, or the colors of its tokens."""
        return self.token_colors(number, side, kind) if self.images is None else self.images[number, side]


def matching_figure(shown: Shown) -> Canvas:
    """Foreground patches of one image joined with their best matches in another, once by x, z and x̂ each."""
    panel = 2 * _SIDE + 8
    canvas = _sheet(
        "Foreground patches matched across images",
        "lines join patches of the left image with the most similar ones (cosine) of the right; background dimmed",
        [panel] * 3,
        len(shown.pairs),
        list(NAMES.values()),
    )
    for number, pair in enumerate(shown.pairs):
        top = _line(canvas, number, shown.names[number])
        for column, kind in enumerate(KINDS):
            left = _MARGIN + column * (panel + _GAP)
            for side in (0, 1):
                ground = _dimmed(shown.ground(number, side, kind), pair.masks[side])
                canvas.image(ground, left + side * (_SIDE + 8), top, _SIDE, _SIDE)
            _draw_matches(canvas, pair, kind, left, top)
    return canvas


def similarity_figure(shown: Shown) -> Canvas:
    """How similar one patch is to every patch of its image, by x, z and x̂."""
    canvas = _sheet(
        "Similarity within an image",
        "cosine of the marked patch with every patch of the image; light = least, dark = most",
        [_SIDE] * 4,
        len(shown.pairs),
        ["image", *NAMES.values()],
    )
    for number, pair in enumerate(shown.pairs):
        top, query = _line(canvas, number, shown.names[number]), int(pair.patches[len(pair.patches) // 2])
        maps = [_similarity(pair.tokens[kind][0], query) for kind in KINDS]
        grounds = [shown.ground(number, 0, "x"), *(_shaded(values) for values in maps)]
        for column, ground in enumerate(grounds):
            left = _MARGIN + column * (_SIDE + _GAP)
            canvas.image(ground, left, top, _SIDE, _SIDE)
            canvas.dot(_center(query, pair.masks[0].shape, left, top), _MARK)
            if column:
                span = f"{maps[column - 1].min():.2f} to {maps[column - 1].max():.2f}"
                canvas.text(left + _SIDE, top - 6, span, 13, FAINT, "end")
    return canvas


def color_figure(shown: Shown) -> Canvas:
    """The three strongest components of x, z and x̂ as red, green and blue, for both images of each pair."""
    columns = (["image"] if shown.images is not None else []) + list(NAMES.values())
    canvas = _sheet(
        "Three strongest components as colors",
        "rebuilt features in the colors of features; the components of latents are turned towards theirs",
        [_SIDE] * (2 * len(columns)),
        len(shown.pairs),
        columns * 2,
    )
    for number in range(len(shown.pairs)):
        top = _line(canvas, number, shown.names[number])
        for side in (0, 1):
            cells = [shown.token_colors(number, side, kind) for kind in KINDS]
            if shown.images is not None:
                cells = [shown.images[number, side], *cells]
            for column, cell in enumerate(cells):
                canvas.image(cell, _MARGIN + (side * len(cells) + column) * (_SIDE + _GAP), top, _SIDE, _SIDE)
    return canvas


def _sheet(title: str, note: str, widths: Sequence[int], lines: int, columns: Sequence[str]) -> Canvas:
    """A titled sheet of `lines` rows of panels, each column under its name."""
    width = 2 * _MARGIN + sum(widths) + _GAP * (len(widths) - 1)
    canvas = Canvas(width, _HEAD + lines * (_SIDE + 36) + _MARGIN, f"{title}: {note}")
    canvas.text(_MARGIN, 34, title, 22)
    canvas.text(_MARGIN, 58, note, 15, FAINT)
    left = _MARGIN
    for panel, name in zip(widths, columns, strict=True):
        canvas.text(left, _HEAD - 8, name, 16)
        left += panel + _GAP
    return canvas


def _line(canvas: Canvas, number: int, name: str) -> float:
    """Write what a row of panels shows; returns the top of its panels."""
    top = _HEAD + number * (_SIDE + 36) + 24
    canvas.text(_MARGIN, top - 6, name, 13, FAINT)
    return top


def _draw_matches(canvas: Canvas, pair: Pair, kind: str, left: float, top: float) -> None:
    a, b = (tokens.flatten(0, 1) for tokens in pair.tokens[kind])  # (h, w, C) -> (h·w, C)
    matches = cosines(a[pair.patches], b).argmax(dim=1)
    shape = (pair.masks[0].shape[0], pair.masks[0].shape[1])
    for place, (patch, match) in enumerate(zip(pair.patches.tolist(), matches.tolist(), strict=True)):
        color = _hue(place / len(pair.patches))
        start = _center(patch, shape, left, top)
        end = _center(match, shape, left + _SIDE + 8, top)
        canvas.line(start, end, color, 1.5)
        canvas.dot(start, color)
        canvas.dot(end, color)


def _center(patch: int, shape: Sequence[int], left: float, top: float) -> tuple[float, float]:
    row, column = divmod(patch, shape[1])
    return left + (column + 0.5) * _SIDE / shape[1], top + (row + 0.5) * _SIDE / shape[0]


def _similarity(tokens: Tensor, query: int) -> np.ndarray:
    """(h, w, C) → cosine of every patch with the query, (h, w)."""
    flat = tokens.flatten(0, 1)  # (h, w, C) -> (h·w, C)
    return np.asarray(cosines(flat[query : query + 1], flat)[0].reshape(tokens.shape[:2]))


def _shaded(values: np.ndarray) -> np.ndarray:
    """The least value light, the largest dark, uint8 (h, w, 3)."""
    shares = (values - values.min()) / ((values.max() - values.min()) or 1)
    ends = np.array([_LIGHT, STRONG], float)
    return np.asarray(np.round(ends[0] + shares[..., None] * (ends[1] - ends[0])), np.uint8)


def _dimmed(pixels: np.ndarray, mask: Tensor) -> np.ndarray:
    """The pixels (H, W, 3), darker where the mask (h, w) is false; each of its cells covers H/h × W/w pixels."""
    rows = np.arange(pixels.shape[0]) * mask.shape[0] // pixels.shape[0]
    columns = np.arange(pixels.shape[1]) * mask.shape[1] // pixels.shape[1]
    bright = np.where(mask.numpy()[np.ix_(rows, columns)], 1.0, _DIM)
    return np.round(pixels * bright[..., None]).astype(np.uint8)


def _hue(share: float) -> Color:
    red, green, blue = (round(channel * 255) for channel in colorsys.hsv_to_rgb(share, 0.85, 0.95))
    return red, green, blue


def _tokens(pairs: Sequence[Pair], kind: str) -> Tensor:
    """All tokens of one kind, (M, channels)."""
    return torch.cat([pair.tokens[kind].flatten(0, 2) for pair in pairs])  # 2 × (h, w, C) -> (2·h·w, C)
