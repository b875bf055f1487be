"""Curves that can be zoomed and read off: losses and speed of trainings, channels and spectrum of latents."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.embed import components
from bokeh.models import FixedTicker, HoverTool, PrintfTickFormatter
from bokeh.plotting import figure
from bokeh.resources import Resources
from markupsafe import Markup

from jobs.runs import CLOCK_METRICS, METRICS_FILE, read_metrics
from pipeline.evaluation import AverageMetrics, best_average, distance_name

# Readable on white and on near-black, and for color-blind readers (Okabe and Ito 2008).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
INK = "#7d8490"
# Lines of metrics.jsonl that are no losses.
SPEED = ("rows_per_second", "mfu", "wait_share", "device_share", "host_share")
OTHERS = {"step", "learning_rate", "skipped_steps", "epoch", "epoch_rows", *CLOCK_METRICS}
MOST_POINTS = 2000
MARKED_POINTS = 12  # a line of fewer has a mark at each: a single point makes no line
HEIGHT, LEGEND_LINE = 240, 21  # pixels
# What averages are compared by beside the Fréchet distance; raw weights, of age 0, on a logarithmic axis.
RANKING = ("KID", "MIND", "recall")
LEAST_AGE = 0.1
MOST_DECADES = 3  # on a logarithmic axis with three numbers a decade
TRAIN, HELD_OUT, RAW = "training", "held out, averaged weights", "held out, raw weights"
# By kind of run: a plot's title -> its lines by name.
MAIN: dict[str, dict[str, dict[str, str]]] = {
    "autoencoders": {
        "error of rebuilt features": {
            TRAIN: "relative_squared_error",
            HELD_OUT: "averaged_relative_squared_error",
            RAW: "relative_squared_error_raw",
        },
        "gradient norm of the autoencoder": {TRAIN: "gradient_norm"},
    },
    "decoders": {
        "loss of the pixel decoder": {"all terms": "loss", "pixels": "pixel", "perceptual": "perceptual"},
        "PSNR in dB": {HELD_OUT: "psnr_db", RAW: "psnr_db_raw"},
    },
    "generators": {
        "error of the velocity": {TRAIN: "loss", HELD_OUT: "val_velocity_mse", RAW: "val_velocity_mse_raw"},
        "gradient norm of the generator": {TRAIN: "gradient_norm"},
    },
}

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def library() -> Markup:
    """The plotting library itself, to be put into the page once."""
    return Markup(Resources(mode="inline", components=["bokeh"], minified=True).render())


def training_curves(runs: Sequence[tuple[str, Path]]) -> dict[str, Any]:
    """A plot for each measure in the metrics of runs (label, folder) of one kind; runs without metrics give none."""
    logs = {label: read_metrics(folder / METRICS_FILE) for label, folder in runs}
    names = dict.fromkeys(name for lines in logs.values() for line in lines for name in line)
    plots = {}
    for name in [*(name for name in names if name not in OTHERS), *(name for name in SPEED if name in names)]:
        series = {label: _points(lines, name) for label, lines in logs.items()}
        plots[name.replace("_", " ")] = curve(
            {label: points for label, points in series.items() if points[0]}, "step", name.replace("_", " ")
        )
    return plots


def main_curves(kind: str, runs: Sequence[tuple[str, Path]]) -> dict[str, Any]:
    """The curves that say how a training of this kind went, with training and held-out rows in one plot."""
    logs = {label: read_metrics(folder / METRICS_FILE) for label, folder in runs}
    plots = {}
    for title, parts in MAIN.get(kind, {}).items():
        series = {
            f"{label} {part}".strip() if len(logs) > 1 else part: _points(lines, name)
            for label, lines in logs.items()
            for part, name in parts.items()
        }
        if shown := {label: points for label, points in series.items() if points[0]}:
            plots[title] = curve(shown, "step", title)
    return plots


def channel_curves(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Plots of an array's statistics: deviation and mean of each channel, and the covariance's spectrum."""
    channels = list(range(stats["channels"]))
    return {
        "mean and deviation of each channel": curve(
            {"deviation": (channels, stats["std"]), "mean": (channels, stats["mean"])}, "channel", "value"
        ),
        "spectrum of the covariance over channels": curve(
            {"eigenvalue": (channels, stats["spectrum"])}, "component", "eigenvalue", log=True
        ),
    }


def average_curves(found: Sequence[AverageMetrics]) -> dict[str, Any]:
    """Each of the main metrics over the age of averaged weights, a line a checkpoint, and its best average over epochs.

    Raw weights have no age and stand at a tenth of a step.
    """
    distance = distance_name(found)
    if distance is None:
        return {}
    kept = [name for name in dict.fromkeys(name for one in found for name in one.metrics) if name.startswith(RANKING)]
    steps, plots = sorted({one.step for one in found}), {}
    for name in dict.fromkeys([distance, *kept]):
        series = {}
        for step in steps:
            known = [one for one in found if one.step == step and name in one.metrics]
            ages = [max(one.age_steps, LEAST_AGE) for one in known]
            series[f"step {step:,}"] = (ages, [one.metrics[name] for one in known])
        plots[f"{name} over averages"] = curve(series, "age of averaged weights in steps", name, x_log=True)
    best = [one for step in steps if (one := best_average(found, distance, step))]
    if len(best) > 1:
        points = ([one.epochs for one in best], [one.metrics[distance] for one in best])
        plots[f"{distance} of the best average"] = curve({"best average": points}, "epochs", distance)
    return plots


def curve(series: Series, x_label: str, y_label: str, log: bool = False, x_log: bool = False) -> Any:
    """Lines over a common x axis, as wide as the page; the caption above the plot says what is on the y axis."""
    shown = {label: (x, [max(y, 1e-12) for y in ys] if log else ys) for label, (x, ys) in series.items()}
    plot = figure(
        height=HEIGHT + (LEGEND_LINE * len(shown) if len(shown) > 1 else 0),
        sizing_mode="stretch_width",
        x_axis_label=x_label,
        x_axis_type="log" if x_log else "auto",
        y_axis_type="log" if log else "auto",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        toolbar_location="above",
        background_fill_alpha=0.0,
        border_fill_alpha=0.0,
        outline_line_color=None,
    )
    plot.add_tools(HoverTool(tooltips=[(x_label, "@x{0,0}"), (y_label, "@y{0.0000}"), ("", "$name")], mode="mouse"))
    plot.toolbar.logo = None
    for number, (label, (xs, ys)) in enumerate(shown.items()):
        color = COLORS[number % len(COLORS)]
        plot.line(list(xs), list(ys), name=label, legend_label=label, line_color=color, line_width=2)
    for number, (label, (xs, ys)) in enumerate(shown.items()):
        if len(xs) <= MARKED_POINTS:
            color = COLORS[number % len(COLORS)]
            plot.scatter(list(xs), list(ys), name=label, legend_label=label, color=color, size=6)
    if log:
        _label_logarithmic(plot.yaxis, [y for _, ys in shown.values() for y in ys])
    if x_log:
        _label_logarithmic(plot.xaxis, [x for xs, _ in shown.values() for x in xs])
    _quiet(plot, len(shown))
    return plot


def _label_logarithmic(axes: Any, values: Sequence[float]) -> None:
    """Numbers at 1, 2 and 5 of each decade, of many decades at 1: by itself Bokeh leaves most of a few without."""
    first, last = int(np.floor(np.log10(min(values)))), int(np.ceil(np.log10(max(values))))
    mantissas = (1, 2, 5) if last - first <= MOST_DECADES else (1,)
    ticks = [mantissa * 10.0**decade for decade in range(first, last + 1) for mantissa in mantissas]
    for axis in axes:
        axis.ticker, axis.formatter = FixedTicker(ticks=ticks), PrintfTickFormatter(format="%g")


def embed(plots: Mapping[str, Any]) -> tuple[Markup, dict[str, Markup]]:
    """The script that draws plots, and the element of each."""
    if not plots:
        return Markup(""), {}
    document = Document()
    with document.models.freeze():  # else each plot that is added makes Bokeh walk through all those before it
        for plot in plots.values():
            document.add_root(plot)
    script, elements = components(dict(plots))
    return Markup(script), {name: Markup(element) for name, element in elements.items()}


def _points(lines: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Steps and values; of a long training every n-th line."""
    found = [(line["step"], line[name]) for line in lines if name in line and np.isfinite(line[name])]
    found = found[:: max(1, -(-len(found) // MOST_POINTS))]
    return [step for step, _ in found], [value for _, value in found]


def _quiet(plot: Any, count: int) -> None:
    """Axes, grid and legend in one gray; the page's script takes the page's own color where it runs."""
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = INK
        axis.major_label_text_color = axis.axis_label_text_color = INK
        axis.axis_label_text_font_style = "normal"
    for grid in (*plot.xgrid, *plot.ygrid):
        grid.grid_line_color, grid.grid_line_alpha = INK, 0.2
    for legend in list(plot.legend):
        legend.visible = count > 1
        legend.label_text_color, legend.background_fill_alpha, legend.border_line_alpha = INK, 0.0, 0.0
        legend.label_text_font_size, legend.spacing, legend.padding, legend.margin = "12px", 0, 0, 0
        legend.click_policy = "hide"
        plot.add_layout(legend, "below")  # above a curve it would hide a part of it
