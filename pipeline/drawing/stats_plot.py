"""The statistics of an array as one image: channels, spectrum, norms, and where in the grid they lie."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.drawing.figures import FAINT, LIGHT, MIDDLE, STRONG, WARM, figure_bytes, literal, new_figure

WIDTH, HEIGHT = 1600, 1180


def plot_stats(record: Mapping[str, Any], title: str) -> bytes:
    """Draw the record of `stores.care.compute_stats` as four panels under a title; returns a PNG."""
    figure = new_figure(WIDTH, HEIGHT)
    figure.suptitle(literal(title), fontsize=18)
    for axes, draw in zip(figure.subplots(2, 2).flat, (_channels, _spectrum, _norms, _positions), strict=True):
        axes.grid(alpha=0.3)
        draw(axes, record)
    return figure_bytes(figure, "png", title)


def _channels(axes: Axes, record: Mapping[str, Any]) -> None:
    """Percentile bands of the channels, sorted by their standard deviation."""
    order = np.argsort(record["std"])
    band = {percent: np.array(values)[order] for percent, values in record["percentiles"].items()}
    channels = np.arange(len(order))
    axes.fill_between(channels, band["1"], band["99"], color=LIGHT, label="1 to 99 %")
    axes.fill_between(channels, band["25"], band["75"], color=MIDDLE, label="25 to 75 %")
    axes.plot(channels, band["50"], color=STRONG, label="median")
    axes.legend()
    axes.set(title="Channels, sorted by deviation", xlabel="channel (sorted)", ylabel="value of the tokens")


def _spectrum(axes: Axes, record: Mapping[str, Any]) -> None:
    """Eigenvalues of the covariance beside the largest."""
    largest, rank = max(record["spectrum"]), record["effective_rank"]
    shares = np.maximum(np.array(record["spectrum"]) / (largest or 1), 1e-6)
    axes.plot(np.arange(1, len(shares) + 1), shares, color=STRONG, marker="." if len(shares) == 1 else "")
    axes.set_yscale("log")
    if len(shares) > 8:
        axes.set_xscale("log")
    if rank >= 1:
        axes.axvline(rank, color=WARM, label=f"effective rank {rank:.1f} of {len(shares)}")
        axes.legend()
    parts = f"90 % in {record['channels_for_90_percent']}, 99 % in {record['channels_for_99_percent']} directions"
    axes.set(title=f"Variance: {parts}", xlabel="direction", ylabel="variance / largest")


def _norms(axes: Axes, record: Mapping[str, Any]) -> None:
    """Histogram of the tokens' norms; outliers stand out."""
    norms, outliers = record["norms"], record["outliers"]
    counts, edges = np.array(norms["histogram"]["counts"]), np.array(norms["histogram"]["edges"])
    limit = np.inf if outliers["limit"] is None else outliers["limit"]
    colors = [WARM if left >= limit else MIDDLE for left in edges[:-1]]
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colors)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)  # a bar of one token is seen
    if edges[0] <= limit <= edges[-1]:
        axes.axvline(limit, color=WARM, label=f"outliers: {outliers['share']:.3%} of the tokens")
        axes.legend()
    title = f"Norms of tokens: median {norms['median']:.4g}, largest {norms['max']:.4g}"
    axes.set(title=title, xlabel="norm", ylabel="tokens")


def _positions(axes: Axes, record: Mapping[str, Any]) -> None:
    """The mean norm at each position of the grid, light to dark."""
    means = np.atleast_2d(np.array(record["norms"]["by_position"]))
    axes.grid(False)
    image = axes.imshow(means, cmap="Blues")
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(image, ax=axes, label="norm")
    axes.tick_params(colors=FAINT)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=f"Mean norm by position, {means.shape[0]} × {means.shape[1]} tokens")
