"""The report's images, as HTML with a text for whoever cannot see them."""

import io
import math
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from fae.images import image_grid
from jobs.sampling import GuidanceGrid, Nearest, Rebuilt
from pipeline.report.page import wide

# Above this a PNG is written as JPEG: pages are sent by mail.
LARGEST_PNG_BYTES = 300_000
JPEG_QUALITY = 88
SMALL_SIDE = 64  # images of few pixels are shown as squares, not blurred


def image_tag(pixels: np.ndarray | Image.Image, text: str, css: str = "") -> Markup:
    """An <img> that holds its image; `text` is what it shows, in words."""
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels.convert("RGB")
    kind = "pixelated " if min(image.size) <= SMALL_SIDE else ""
    return Markup('<img class="{}{}" src="{}" alt="{}" width="{}" height="{}">').format(
        kind, css, _data_uri(image), text, *image.size
    )


def image_file(file: Path, text: str) -> Markup:
    """The same of an image on disk."""
    with Image.open(file) as image:
        return image_tag(image, text)


def rebuilt_grid(found: Rebuilt) -> Markup:
    """Each held-out image beside its reconstruction, with both figures below."""
    cells = [
        _figure(
            np.concatenate([original, made], axis=1),
            f"image {key}, and beside it as rebuilt",
            f"{decibel:.1f} dB · {likeness:.3f}",
        )
        for key, original, made, decibel, likeness in zip(
            found.keys, found.originals, found.images, found.psnr_db, found.ssim, strict=True
        )
    ]
    return Markup('<div class="cells pairs">{}</div>').format(Markup("").join(cells))


def guidance_table(grid: GuidanceGrid, names: Sequence[str]) -> Markup:
    """A table with guidance down and steps across; each cell shows the same classes and seeds."""
    head = Markup("").join(Markup('<th scope="col">{} steps</th>').format(steps) for steps in grid.steps)
    shown = ", ".join(names)
    rows = []
    for scale, cells in zip(grid.scales, grid.cells, strict=True):
        drawn = Markup("").join(
            Markup("<td>{}</td>").format(
                image_tag(
                    image_grid(cell, columns_of(len(cell))),
                    f"samples of {shown} at guidance {scale:g}, {steps} steps",
                )
            )
            for steps, cell in zip(grid.steps, cells, strict=True)
        )
        rows.append(Markup('<tr><th scope="row">guidance {}</th>{}</tr>').format(f"{scale:g}", drawn))
    return wide(
        "samples by guidance and steps",
        Markup('<table class="grid"><thead><tr><td></td>{}</tr></thead><tbody>{}</tbody></table>').format(
            head, Markup("").join(rows)
        ),
    )


def nearest_grid(samples: np.ndarray, nearest: Nearest, keys: Sequence[str]) -> Markup:
    """Each sample beside its nearest training image, with the distance below."""
    cells = [
        _figure(
            np.concatenate([sample, shown], axis=1),
            f"sample {number}, and beside it the nearest training image, {key}",
            f"{distance:.3f}",
        )
        for number, (sample, shown, key, distance) in enumerate(
            zip(samples, nearest.images, keys, nearest.distances, strict=True)
        )
    ]
    return Markup('<div class="cells pairs">{}</div>').format(Markup("").join(cells))


def columns_of(count: int) -> int:
    """Columns that make a grid of so many images about square."""
    return math.ceil(math.sqrt(count)) if count else 1


def _figure(pixels: np.ndarray, text: str, caption: str) -> Markup:
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(image_tag(pixels, text), caption)


def _data_uri(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "PNG")  # optimized, a grid of a megapixel takes seconds for a few percent
    kind = "png"
    if out.tell() > LARGEST_PNG_BYTES:
        out, kind = io.BytesIO(), "jpeg"
        image.save(out, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/{kind};base64,{b64encode(out.getvalue()).decode()}"
