"""The plot of statistics is an image of their numbers."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.drawing.stats_plot import HEIGHT, WIDTH, plot_stats

WARM = (214, 91, 51)


def record(channels: int, positions: Any, limit: float | None) -> dict[str, Any]:
    spread = np.linspace(0.5, 2, channels)
    percentiles = {str(p): (spread * (p - 50) / 50).tolist() for p in (1, 5, 25, 50, 75, 95, 99)}
    return {
        "std": spread.tolist(),
        "percentiles": percentiles,
        "spectrum": (spread[::-1] ** 2).tolist(),
        "effective_rank": channels * 0.7,
        "channels_for_90_percent": channels,
        "channels_for_99_percent": channels,
        "norms": {
            "median": 2.0,
            "max": 9.0,
            "histogram": {"counts": [3, 5, 0, 1], "edges": [1.0, 3.0, 5.0, 7.0, 9.0]},
            "by_position": positions,
        },
        "outliers": {"limit": limit, "share": 1 / 9},
    }


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def colors(image: Image.Image) -> set[tuple[int, ...]]:
    return {color for _, color in image.getcolors(maxcolors=1 << 24)}


def panel(image: Image.Image, column: int, row: int) -> Image.Image:
    """One of the four panels, without its rim, where colors of a color bar or title could stand."""
    left, top = column * WIDTH // 2, row * HEIGHT // 2
    return image.crop((left + 100, top + 80, left + WIDTH // 2 - 100, top + HEIGHT // 2 - 60))


def test_outliers_are_warm_and_only_outliers() -> None:
    assert WARM in colors(panel(opened(plot_stats(record(16, [[1, 2], [3, 4]], limit=6.0), "t")), 0, 1))
    assert WARM not in colors(panel(opened(plot_stats(record(16, [[1, 2], [3, 4]], limit=None), "t")), 0, 1))


def test_the_strongest_position_is_the_darkest() -> None:
    grid = panel(opened(plot_stats(record(16, [[1, 2], [3, 4]], limit=None), "t")), 1, 1)
    # Beyond a quarter from each side lie the four cells, whatever the layout leaves beside them.
    cells = [grid.getpixel((grid.width * x // 8, grid.height * y // 8)) for y in (2, 6) for x in (3, 5)]
    brightness = [sum(cell) for cell in cells]
    assert brightness == sorted(set(brightness), reverse=True)


@pytest.mark.parametrize(("channels", "positions"), [(1, 5.0), (3, [1.0, 2.0, 3.0])])
def test_few_channels_and_no_grid(channels: int, positions: Any) -> None:
    assert opened(plot_stats(record(channels, positions, limit=2.0), "t")).size == (WIDTH, HEIGHT)


def test_constant_values_have_a_plot_too() -> None:
    flat = record(4, 1.0, None) | {"spectrum": [0.0] * 4, "effective_rank": 0.0}
    flat["percentiles"] = {name: [1.0] * 4 for name in flat["percentiles"]}
    assert opened(plot_stats(flat, "t")).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("title", ["$5 and $x^$", "日本語", r"\frac"])
def test_a_title_is_no_formula_and_may_have_any_letters(title: str) -> None:
    assert opened(plot_stats(record(4, 1.0, None), title)).size == (WIDTH, HEIGHT)
