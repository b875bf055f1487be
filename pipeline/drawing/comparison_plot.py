"""The same images as several autoencoders rebuild them, a column each, with their metrics beneath."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine

from pipeline.drawing.figures import FAINT, figure_bytes, literal, new_figure

COLUMN, ROW, LINE = 150, 140, 19
NAME_CHARACTERS = 17


def plot_comparison(
    images: Mapping[str, np.ndarray], metrics: Mapping[str, Sequence[str]], kind: Literal["png", "svg"] = "png"
) -> bytes:
    """Draw the columns.

    Args:
        images: uint8 (N, H, W, 3) by name, the same N for all.
        metrics: lines of text below a column, by name; names without are left blank.
        kind: of the file.
    """
    count, lines = len(next(iter(images.values()))), max((len(one) for one in metrics.values()), default=0)
    titles = {name: "\n".join(textwrap.wrap(name, NAME_CHARACTERS)) or name for name in images}
    heights = [*[ROW] * count, LINE * (lines + 1)]
    title_lines = max(title.count("\n") + 1 for title in titles.values())
    figure = new_figure(COLUMN * len(images), sum(heights) + (title_lines + 2) * LINE)
    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)
    layout.set(rect=(0, 0, 1, 0.99))  # titles of two lines reach above what is kept for them
    grid: Any = figure.subplots(count + 1, len(images), squeeze=False, gridspec_kw={"height_ratios": heights})
    for column, (name, shown) in enumerate(images.items()):
        grid[0, column].set_title(literal(titles[name]), fontsize=10)
        for row, image in enumerate(shown):
            grid[row, column].imshow(image, interpolation="nearest")
        text = "\n".join(metrics.get(name, ()))
        grid[count, column].text(0.5, 1.0, literal(text), ha="center", va="top", fontsize=8.5, color=FAINT)
        for axes in grid[:, column]:
            axes.set_axis_off()
    names = ", ".join(images)
    return figure_bytes(figure, kind, f"{count} images as rebuilt by {names}")
