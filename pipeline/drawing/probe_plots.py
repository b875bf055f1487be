"""Figures of a probe: patches matched across images, similarity within one, and tokens as colors."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from torch import Tensor

from fae.probes import PrincipalColors, cosines
from jobs.evaluation import KINDS, Pair
from pipeline.drawing.figures import FAINT, WARM, literal, new_figure

NAMES = {"x": "features x", "z": "latents z", "x_hat": "rebuilt features"}
PANEL_PIXELS, ROW_PIXELS, HEAD_PIXELS = 216, 244, 110
BACKGROUND_BRIGHTNESS = 0.45


@dataclass(frozen=True)
class ProbePairs:
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


def matching_figure(shown: ProbePairs) -> Figure:
    """Foreground patches of one image joined with their best matches in another, once by x, z and x̂ each."""
    figure, panels = _sheet(
        "Foreground patches matched across images",
        "lines join patches of the left image with the most similar ones (cosine) of the right; background dimmed",
        [name for name in NAMES.values() for name in (name, "")],
        shown,
    )
    for number, pair in enumerate(shown.pairs):
        for column, kind in enumerate(KINDS):
            left, right = panels[number, 2 * column : 2 * column + 2]
            for side, axes in enumerate((left, right)):
                _show(axes, _dimmed(shown.ground(number, side, kind), pair.masks[side]))
            _draw_matches(left, right, pair, kind)
    return figure


def similarity_figure(shown: ProbePairs) -> Figure:
    """How similar one patch is to every patch of its image, by x, z and x̂."""
    figure, panels = _sheet(
        "Similarity within an image",
        "cosine of the marked patch with every patch of the image; light = least, dark = most",
        ["image", *NAMES.values()],
        shown,
    )
    for number, pair in enumerate(shown.pairs):
        query = int(pair.patches[len(pair.patches) // 2])
        center = _center(query, pair.masks[0].shape)
        _show(panels[number, 0], shown.ground(number, 0, "x"))
        for axes, kind in zip(panels[number, 1:], KINDS, strict=True):
            values = _similarity(pair.tokens[kind][0], query)
            _show(axes, values)
            axes.set_xlabel(f"{values.min():.2f} to {values.max():.2f}", color=FAINT)
        for axes in panels[number]:
            axes.plot(*center, "o", color=WARM, markeredgecolor="white", transform=axes.transAxes)
    return figure


def color_figure(shown: ProbePairs) -> Figure:
    """The three strongest components of x, z and x̂ as red, green and blue, for both images of each pair."""
    figure, panels = _sheet(
        "Three strongest components as colors",
        "rebuilt features in the colors of features; the components of latents are turned towards theirs",
        [*(["image"] if shown.images is not None else []), *NAMES.values()] * 2,
        shown,
    )
    for number in range(len(shown.pairs)):
        cells = []
        for side in (0, 1):
            cells += [] if shown.images is None else [shown.images[number, side]]
            cells += [shown.token_colors(number, side, kind) for kind in KINDS]
        for axes, cell in zip(panels[number], cells, strict=True):
            _show(axes, cell)
    return figure


def _sheet(title: str, note: str, columns: Sequence[str], shown: ProbePairs) -> tuple[Figure, np.ndarray]:
    """A titled figure with a row of panels for each pair; each column stands under its name."""
    rows = len(shown.pairs)
    figure = new_figure(len(columns) * PANEL_PIXELS, HEAD_PIXELS + rows * ROW_PIXELS)
    figure.suptitle(f"{title}\n", fontsize=16)
    figure.text(0.5, 1 - 0.6 * HEAD_PIXELS / (HEAD_PIXELS + rows * ROW_PIXELS), note, ha="center", color=FAINT)
    panels = figure.subplots(rows, len(columns), squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    for axes, name in zip(panels[0], columns, strict=True):
        axes.set_title(name, fontsize=12)
    for axes, name in zip(panels[:, 0], shown.names, strict=True):
        axes.set_ylabel(literal(name), color=FAINT)
    return figure, panels


def _show(axes: Axes, pixels: np.ndarray) -> None:
    """Pixels (H, W, 3), or values (h, w) light to dark, over the whole panel."""
    few = pixels.shape[0] < PANEL_PIXELS
    axes.imshow(pixels, cmap="Blues", extent=(0, 1, 0, 1), interpolation="nearest" if few else "antialiased")


def _draw_matches(left: Axes, right: Axes, pair: Pair, kind: str) -> None:
    a, b = (tokens.flatten(0, 1) for tokens in pair.tokens[kind])  # (h, w, C) -> (h·w, C)
    matches = cosines(a[pair.patches], b).argmax(dim=1)
    hues = colormaps["hsv"](np.linspace(0, 1, len(pair.patches), endpoint=False))
    for patch, match, color in zip(pair.patches.tolist(), matches.tolist(), hues, strict=True):
        start, end = _center(patch, pair.masks[0].shape), _center(match, pair.masks[1].shape)
        line = ConnectionPatch(start, end, "data", "data", axesA=left, axesB=right, color=color, linewidth=1.5)
        line.set_in_layout(False)
        right.add_artist(line)
        for axes, point in ((left, start), (right, end)):
            axes.plot(*point, "o", color=color, markeredgecolor="white", markersize=6)


def _center(patch: int, shape: Sequence[int]) -> tuple[float, float]:
    """(x, y) of a patch's center in a panel whose sides have length 1; y goes up."""
    row, column = divmod(patch, shape[1])
    return (column + 0.5) / shape[1], 1 - (row + 0.5) / shape[0]


def _similarity(tokens: Tensor, query: int) -> np.ndarray:
    """(h, w, C) → cosine of every patch with the query, (h, w)."""
    flat = tokens.flatten(0, 1)  # (h, w, C) -> (h·w, C)
    return np.asarray(cosines(flat[query : query + 1], flat)[0].reshape(tokens.shape[:2]))


def _dimmed(pixels: np.ndarray, mask: Tensor) -> np.ndarray:
    """The pixels (H, W, 3), darker where the mask (h, w) is false; each of its cells covers H/h × W/w pixels."""
    rows = np.arange(pixels.shape[0]) * mask.shape[0] // pixels.shape[0]
    columns = np.arange(pixels.shape[1]) * mask.shape[1] // pixels.shape[1]
    bright = np.where(mask.numpy()[np.ix_(rows, columns)], 1.0, BACKGROUND_BRIGHTNESS)
    return np.round(pixels * bright[..., None]).astype(np.uint8)


def _tokens(pairs: Sequence[Pair], kind: str) -> Tensor:
    """All tokens of one kind, (M, channels)."""
    return torch.cat([pair.tokens[kind].flatten(0, 2) for pair in pairs])  # 2 × (h, w, C) -> (2·h·w, C)
