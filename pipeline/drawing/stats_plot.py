"""A survey of an array as one image: channels, spectrum, norms, and where in the grid they lie."""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 800, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 30, 84, 64
_INK, _FAINT, _GRID = (38, 38, 46), (110, 110, 122), (228, 228, 234)
_LIGHT, _MIDDLE, _STRONG, _WARM = (214, 228, 243), (141, 182, 219), (31, 99, 161), (214, 91, 51)
Scale = Callable[[float], float]


class Panel:
    """A plot in a rectangle of an image: title, axes with round ticks, and shapes in the units of the data."""

    def __init__(
        self,
        title: str,
        note: str,
        x: tuple[float, float],
        y: tuple[float, float],
        labels: tuple[str, str],
        log: tuple[bool, bool] = (False, False),
    ) -> None:
        self.image = Image.new("RGB", (WIDTH, HEIGHT), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.x, self.y = _scale(x, _LEFT, WIDTH - _RIGHT, log[0]), _scale(y, HEIGHT - _BOTTOM, _TOP, log[1])
        self.draw.text((_LEFT, 20), title, _INK, _font(22))
        self.draw.text((_LEFT, 50), note, _FAINT, _font(15))
        for value in _ticks(*x, log[0]):
            self._grid((self.x(value), _TOP, self.x(value), HEIGHT - _BOTTOM))
            self.draw.text((self.x(value), HEIGHT - _BOTTOM + 8), _text(value), _FAINT, _font(14), anchor="ma")
        for value in _ticks(*y, log[1]):
            self._grid((_LEFT, self.y(value), WIDTH - _RIGHT, self.y(value)))
            self.draw.text((_LEFT - 8, self.y(value)), _text(value), _FAINT, _font(14), anchor="rm")
        self.draw.text(((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 14), labels[0], _INK, _font(15), anchor="ms")
        self._upright(labels[1])

    def band(self, low: Sequence[float], high: Sequence[float], color: tuple[int, int, int]) -> None:
        """Fill the area between two curves over 0, 1, 2 and so on."""
        xs = range(len(low))
        edge = [(self.x(at), self.y(value)) for at, value in zip(xs, high, strict=True)]
        back = [(self.x(at), self.y(value)) for at, value in zip(xs, low, strict=True)]
        if len(edge) > 1:
            self.draw.polygon([*edge, *reversed(back)], fill=color)

    def line(self, xs: Sequence[float], ys: Sequence[float], color: tuple[int, int, int]) -> None:
        """A curve."""
        points = [(self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)]
        self.draw.line(points, fill=color, width=2, joint="curve")

    def bars(self, edges: Sequence[float], heights: Sequence[float], limit: float) -> None:
        """A histogram; bars beyond the limit are warm."""
        for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
            if height > 0:
                box = (self.x(left), self.y(height), max(self.x(right) - 1, self.x(left) + 1), HEIGHT - _BOTTOM)
                self.draw.rectangle(box, fill=_WARM if left >= limit else _MIDDLE)

    def upright(self, x: float, text: str) -> None:
        """A marked place on the x axis."""
        self.draw.line((self.x(x), _TOP, self.x(x), HEIGHT - _BOTTOM), fill=_WARM, width=2)
        side, shift = ("la", 6) if self.x(x) < WIDTH / 2 else ("ra", -6)
        self.draw.text((self.x(x) + shift, _TOP + 4), text, _WARM, _font(15), anchor=side)

    def _grid(self, line: tuple[float, float, float, float]) -> None:
        self.draw.line(line, fill=_GRID, width=1)

    def _upright(self, text: str) -> None:
        """The y axis' name, turned by a quarter."""
        length = int(_font(15).getlength(text)) + 4
        strip = Image.new("RGB", (length, 22), "white")
        ImageDraw.Draw(strip).text((2, 2), text, _INK, _font(15))
        self.image.paste(strip.rotate(90, expand=True), (8, (HEIGHT - length) // 2))


def survey_plot(record: dict[str, Any], title: str) -> bytes:
    """The PNG of a survey (the record of `stores.care.array_stats.survey`), four panels under a title."""
    panels = [_channels(record), _spectrum(record), _norms(record), _positions(record)]
    sheet = Image.new("RGB", (2 * WIDTH, 2 * HEIGHT + 60), "white")
    ImageDraw.Draw(sheet).text((_LEFT, 20), title, _INK, _font(26))
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number % 2 * WIDTH, 60 + number // 2 * HEIGHT))
    sink = io.BytesIO()
    sheet.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def _channels(record: dict[str, Any]) -> Image.Image:
    """Percentile bands of the channels, sorted by their standard deviation."""
    order = np.argsort(record["std"])
    bands = {percent: [values[at] for at in order] for percent, values in record["percentiles"].items()}
    count = len(order)
    panel = Panel(
        "Channels, sorted by spread",
        "median, 25 to 75 % and 1 to 99 % of the tokens",
        (0, max(count - 1, 1)),
        _span(min(bands["1"]), max(bands["99"])),
        ("channel (sorted)", "value"),
    )
    panel.band(bands["1"], bands["99"], _LIGHT)
    panel.band(bands["25"], bands["75"], _MIDDLE)
    panel.line(range(count), bands["50"], _STRONG)
    return panel.image


def _spectrum(record: dict[str, Any]) -> Image.Image:
    largest = max(record["spectrum"])
    shares = np.maximum(np.array(record["spectrum"]) / (largest or 1), 1e-6)
    count, rank = len(shares), record["effective_rank"]
    panel = Panel(
        "Spectrum of the covariance",
        f"effective rank {rank:.1f} of {count}; 90 % of the variance in {record['channels_for_90_percent']}, "
        f"99 % in {record['channels_for_99_percent']} directions",
        (1, max(count, 2)),
        (10 ** math.floor(math.log10(shares.min())) if shares.min() < 1 else 0.1, 1),
        ("direction", "variance / largest"),
        log=(count > 8, True),
    )
    panel.line(range(1, count + 1), shares.tolist(), _STRONG)
    if rank >= 1:
        panel.upright(rank, "effective rank")
    return panel.image


def _norms(record: dict[str, Any]) -> Image.Image:
    norms, outliers = record["norms"], record["outliers"]
    counts, edges = norms["histogram"]["counts"], norms["histogram"]["edges"]
    limit = math.inf if outliers["limit"] is None else outliers["limit"]
    panel = Panel(
        "Norms of tokens",
        f"median {norms['median']:.4g}, largest {norms['max']:.4g}; outliers: {outliers['share']:.3%} of the tokens",
        (edges[0], edges[-1]),
        (0.8, max(counts) * 1.5),
        ("norm", "tokens"),
        log=(False, True),
    )
    panel.bars(edges, counts, limit)
    if edges[0] <= limit <= edges[-1]:
        panel.upright(limit, "outliers")
    return panel.image


def _positions(record: dict[str, Any]) -> Image.Image:
    """The mean norm at each place of the grid, light to dark."""
    means = np.atleast_2d(np.array(record["norms"]["by_position"]))
    low, high = float(means.min()), float(means.max())
    rows, columns = means.shape
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    draw.text((_LEFT, 20), "Mean norm by position", _INK, _font(22))
    draw.text((_LEFT, 50), f"{low:.4g} (light) to {high:.4g} (dark); {rows} by {columns} tokens", _FAINT, _font(15))
    side = min((WIDTH - _LEFT - _RIGHT) // columns, (HEIGHT - _TOP - 24) // rows)
    ends = np.array([[244, 248, 252], _STRONG], float)
    for (row, column), value in np.ndenumerate(means):
        share = (float(value) - low) / (high - low) if high > low else 0.0
        color = tuple(int(channel) for channel in ends[0] + share * (ends[1] - ends[0]))
        left, top = _LEFT + column * side, _TOP + row * side
        draw.rectangle((left, top, left + side - 1, top + side - 1), fill=color)
    return image


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _span(low: float, high: float) -> tuple[float, float]:
    """A range that is never empty."""
    room = (high - low) * 0.04 or 1.0
    return float(low) - room, float(high) + room


def _scale(ends: tuple[float, float], first: float, last: float, log: bool) -> Scale:
    low, high = (math.log10(end) for end in ends) if log else ends

    def place(value: float) -> float:
        at = math.log10(value) if log else value
        return first + (min(max(at, low), high) - low) / ((high - low) or 1) * (last - first)

    return place


def _ticks(low: float, high: float, log: bool) -> list[float]:
    """Round numbers in the range, five or so."""
    if log:
        powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        return [10.0**power for power in powers]
    rough = (high - low) / 5 or 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"
