"""The plot of a survey is an image of the survey's numbers."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.drawing.stats_plot import HEIGHT, WIDTH, survey_plot

WARM, STRONG = (214, 91, 51), (31, 99, 161)


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


def test_outliers_are_warm_and_only_outliers() -> None:
    norms = (0, HEIGHT + 60, WIDTH, 2 * HEIGHT + 60)
    assert WARM in colors(opened(survey_plot(record(16, [[1, 2], [3, 4]], limit=6.0), "t")).crop(norms))
    assert WARM not in colors(opened(survey_plot(record(16, [[1, 2], [3, 4]], limit=None), "t")).crop(norms))


def test_the_strongest_position_is_the_darkest() -> None:
    image = opened(survey_plot(record(16, [[1, 2], [3, 4]], limit=None), "t"))
    grid = image.crop((WIDTH, HEIGHT + 60, 2 * WIDTH, 2 * HEIGHT + 60))
    side = (HEIGHT - 84 - 24) // 2
    cells = {
        (r, c): grid.getpixel((84 + c * side + side // 2, 84 + r * side + side // 2)) for r in (0, 1) for c in (0, 1)
    }
    assert cells[1, 1] == STRONG
    assert [sum(cells[place]) for place in sorted(cells)] == sorted((sum(c) for c in cells.values()), reverse=True)


@pytest.mark.parametrize(("channels", "positions"), [(1, 5.0), (3, [1.0, 2.0, 3.0])])
def test_few_channels_and_no_grid(channels: int, positions: Any) -> None:
    assert opened(survey_plot(record(channels, positions, limit=2.0), "t")).size == (2 * WIDTH, 2 * HEIGHT + 60)


def test_constant_values_have_a_plot_too() -> None:
    flat = record(4, 1.0, None) | {"spectrum": [0.0] * 4, "effective_rank": 0.0}
    flat["percentiles"] = {name: [1.0] * 4 for name in flat["percentiles"]}
    assert opened(survey_plot(flat, "t")).size == (2 * WIDTH, 2 * HEIGHT + 60)
