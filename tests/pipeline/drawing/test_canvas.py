"""One drawing, two files: both show the same shapes."""

import io
import xml.etree.ElementTree as ElementTree

import numpy as np
from PIL import Image

from pipeline.drawing.canvas import INK, Canvas

RED, BLUE = (214, 20, 20), (20, 20, 214)
SVG = "{http://www.w3.org/2000/svg}"


def opened(canvas: Canvas) -> Image.Image:
    with Image.open(io.BytesIO(canvas.png())) as image:
        return image.convert("RGB")


def test_shapes_lie_where_they_were_put() -> None:
    canvas = Canvas(100, 60, "shapes")
    canvas.line((10, 30), (90, 30), RED, 4)
    canvas.dot((50, 10), BLUE, 6)
    image = opened(canvas)
    assert image.size == (100, 60)
    assert [image.getpixel(place) for place in ((50, 30), (50, 10), (5, 30), (95, 55))] == [
        RED,
        BLUE,
        (255, 255, 255),
        (255, 255, 255),
    ]
    svg = ElementTree.fromstring(canvas.svg())
    line, dot = svg.find(f"{SVG}line"), svg.find(f"{SVG}circle")
    assert line is not None
    assert dot is not None
    assert (line.get("x2"), line.get("stroke"), dot.get("cx"), dot.get("fill")) == ("90", "#d61414", "50", "#1414d6")


def test_text_is_anchored_and_escaped() -> None:
    canvas = Canvas(200, 40, "a < b & c")
    canvas.text(100, 30, "x < y & z", 15, INK, "end")
    dark = np.argwhere(np.asarray(opened(canvas).convert("L")) < 100)
    assert dark[:, 1].min() > 20
    assert dark[:, 1].max() <= 100
    assert dark[:, 0].max() <= 34
    svg = ElementTree.fromstring(canvas.svg())
    assert [element.text for element in (svg.find(f"{SVG}title"), svg.find(f"{SVG}text")) if element is not None] == [
        "a < b & c",
        "x < y & z",
    ]


def test_enlarged_cells_stay_sharp_and_the_svg_carries_them_as_they_are() -> None:
    cells = np.array([[RED, BLUE], [BLUE, RED]], np.uint8)
    canvas = Canvas(60, 60, "cells")
    canvas.image(cells, 10, 10, 40, 40)
    image = opened(canvas)
    assert [image.getpixel(place) for place in ((11, 11), (29, 29), (30, 29), (48, 48))] == [RED, RED, BLUE, RED]
    element = ElementTree.fromstring(canvas.svg()).find(f"{SVG}image")
    assert element is not None
    assert element.get("style") == "image-rendering:pixelated"
