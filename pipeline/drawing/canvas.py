"""A drawing that is a PNG and an SVG at once: text, lines, dots, frames and images."""

import base64
import io
from html import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
INK, FAINT, WHITE, STRONG = (38, 38, 46), (110, 110, 122), (255, 255, 255), (31, 99, 161)
# The PNG is drawn larger and made smaller, so that slanted lines are smooth.
_SCALE = 2
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


class Canvas:
    """A white sheet of width × height; x goes right, y down, both in its units (pixels of the PNG)."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self._image = Image.new("RGB", (width * _SCALE, height * _SCALE), "white")
        self._draw = ImageDraw.Draw(self._image)
        self._elements = [f'<rect width="{width}" height="{height}" fill="#ffffff"/>']

    def text(self, x: float, y: float, text: str, size: int = 15, color: Color = INK, anchor: str = "start") -> None:
        """A line of text whose baseline begins (`start`), has its `middle`, or ends (`end`) at a point."""
        font = ImageFont.load_default(size * _SCALE)
        self._draw.text((x * _SCALE, y * _SCALE), text, color, font, anchor=_ANCHORS[anchor])
        self._elements.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{_hex(color)}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def line(self, start: tuple[float, float], end: tuple[float, float], color: Color, width: float = 2) -> None:
        """A straight line."""
        ends = [(x * _SCALE, y * _SCALE) for x, y in (start, end)]
        self._draw.line(ends, fill=color, width=round(width * _SCALE))
        (x1, y1), (x2, y2) = start, end
        self._elements.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{_hex(color)}" stroke-width="{width:g}"/>'
        )

    def dot(self, center: tuple[float, float], color: Color, radius: float = 4) -> None:
        """A disc with a white rim."""
        x, y = center
        box = [(x - radius) * _SCALE, (y - radius) * _SCALE, (x + radius) * _SCALE, (y + radius) * _SCALE]
        self._draw.ellipse(box, fill=color, outline=WHITE, width=_SCALE)
        self._elements.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius - 0.5:g}" fill="{_hex(color)}" stroke="#ffffff"/>'
        )

    def image(self, pixels: np.ndarray, x: float, y: float, width: int, height: int) -> None:
        """Pixels uint8 (H, W, 3) in a rectangle: sharp cells when enlarged, smooth when made smaller."""
        enlarged = pixels.shape[0] < height
        image = Image.fromarray(np.ascontiguousarray(pixels))
        way = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
        place = (round(x * _SCALE), round(y * _SCALE))
        self._image.paste(image.resize((width * _SCALE, height * _SCALE), way), place)
        rendering = ' style="image-rendering:pixelated"' if enlarged else ""
        data = base64.b64encode(_png(image)).decode()
        self._elements.append(
            f'<image x="{x:g}" y="{y:g}" width="{width}" height="{height}" preserveAspectRatio="none"{rendering} '
            f'href="data:image/png;base64,{data}"/>'
        )

    def png(self) -> bytes:
        """The drawing as a PNG file of width × height pixels."""
        return _png(self._image.resize((self.width, self.height), Image.Resampling.BOX))

    def svg(self) -> bytes:
        """The drawing as an SVG file that needs no other file; its title is what it shows."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" role="img" font-family="sans-serif">'
        )
        return "\n".join([head, f"<title>{escape(self.title)}</title>", *self._elements, "</svg>\n"]).encode()


def _png(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
