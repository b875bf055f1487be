"""Matplotlib figures as files, without its global state: PNG, and SVG that is the same for the same figure."""

import io
import warnings
from typing import Literal

from matplotlib import rc_context
from matplotlib.figure import Figure

FAINT, STRONG, MIDDLE, LIGHT, WARM = "#6e6e7a", "#1f63a1", "#8db6db", "#d6e4f3", "#d65b33"
DPI = 100


def new_figure(width: int, height: int) -> Figure:
    """An empty figure of width × height pixels whose axes are laid out without overlap."""
    return Figure((width / DPI, height / DPI), dpi=DPI, layout="constrained")


def literal(text: str) -> str:
    """Text of a user, such as a class name: a dollar sign begins no formula."""
    return text.replace("$", r"\$")


def figure_bytes(figure: Figure, kind: Literal["png", "svg"], title: str) -> bytes:
    """The figure as a file; `title` says what it shows to those who cannot see it."""
    sink = io.BytesIO()
    metadata = {"Title": title, **({"Date": None} if kind == "svg" else {})}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}), warnings.catch_warnings():
        # Scripts that the font lacks are boxes in the PNG; the SVG keeps their text for the viewer's fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(sink, format=kind, dpi=DPI, metadata=metadata)
    figure.set_layout_engine("none")  # laying out takes half of the time, and another format looks the same
    return sink.getvalue()
