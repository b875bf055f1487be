"""Write an inspection: a grid of the sample images as PNG, and one HTML page that loads nothing."""

import io
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from fae.grids import labeled_grid
from fae.images import save_png
from pipeline.console import data_lines, warning_lines
from pipeline.inspection.look import Inspection, SampleImage
from pipeline.report import Section, page_table, render_page
from stores.backends import make_folder, replace_file

GRID_FILE, PAGE_FILE = "grid.png", "index.html"
MOST_CLASSES, MOST_CAPTIONS = 1000, 5
QUICK = 2  # a look that somebody waits for; at 6 the file was half of what the command took


def write_inspection(found: Inspection, folder: Path, columns: int) -> dict[str, Path]:
    """Write grid.png (where an image could be read) and index.html into the folder; returns their paths."""
    make_folder(folder)
    files = {}
    shown = [sample for sample in found.samples if sample.pixels is not None]
    if shown:
        pixels = np.stack([sample.pixels for sample in shown if sample.pixels is not None])
        grid = labeled_grid(pixels, columns, [sample.text for sample in shown])
        files["grid"] = save_png(grid, folder / GRID_FILE, compress_level=QUICK)
    files["page"] = folder / PAGE_FILE
    replace_file(files["page"], _page(found).encode())
    return files


def _page(found: Inspection) -> str:
    record = found.record
    sections = [
        Section("What was understood", _lines(data_lines(record)[1:])),
        *_optional("What looks wrong", _list(warning_lines(record))),
        *_optional("Images", _cells(found.samples), "Cut as extract cuts them, spread over classes and keys."),
        *_optional("Classes", _classes(record["classes"])),
        *_optional("Tables", _rows(record["tables"], _table_row, "columns of tables")),
        *_optional("Files that are not used", _rows(record["unused"], dict, "unused files")),
        *_optional("Fields that could not be read", _rows(record["problems"], dict, "unreadable fields")),
    ]
    title = Path(record["path"]).name or record["path"]
    subtitle = data_lines(record)[0].removeprefix("data: ")
    return render_page(title, subtitle, sections, Markup(""), Markup(""), f"fae-pipe inspect {record['path']}")


def _optional(title: str, body: Markup, note: str = "") -> list[Section]:
    return [Section(title, body, note)] if body else []


def _lines(lines: Sequence[str]) -> Markup:
    parts = [line.strip().split("  ", 1) for line in lines]
    # A class's number stays on the line of its name: at the end of the line above it reads as that class's.
    found = [(name, re.sub(r"(?<=[:,] )(\d+) (?=\S)", "\\1\N{NO-BREAK SPACE}", text.strip())) for name, text in parts]
    return page_table([{"what": name, "found": text} for name, text in found], "findings")


def _list(lines: Sequence[str]) -> Markup:
    items = Markup("").join(Markup("<li>{}</li>").format(line.removeprefix("warning: ")) for line in lines)
    return Markup('<ul class="warn">{}</ul>').format(items) if lines else Markup("")


def _classes(classes: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [{"id": one["id"], "name": one["name"], "images": one["images"]} for one in classes[:MOST_CLASSES]]
    return page_table(rows, "images of each class") if rows else Markup("")


def _rows(records: Sequence[Mapping[str, Any]], convert: Any, name: str) -> Markup:
    return page_table([convert(record) for record in records], name) if records else Markup("")


def _table_row(table: Mapping[str, Any]) -> dict[str, Any]:
    roles = ", ".join(f"{role} = {' + '.join(columns)}" for role, columns in table["roles"].items())
    return {"table": table["path"], "columns": ", ".join(table["columns"]), "read as": roles} | {
        name: table[name] for name in ("rows", "images", "missing")
    }


def _cells(samples: Sequence[SampleImage]) -> Markup:
    cells = Markup("").join(_cell(sample) for sample in samples)
    return Markup('<div class="cells">{}</div>').format(cells) if samples else Markup("")


def _cell(sample: SampleImage) -> Markup:
    if sample.pixels is None:
        image = Markup('<p class="warn">{}</p>').format(sample.reason)
    else:
        side = sample.pixels.shape[0]
        image = Markup('<img src="{}" alt="image {}" width="{}" height="{}">').format(
            _data_uri(sample.pixels), sample.key, side, side
        )
    texts = [sample.key, f"{sample.label or 'no label'} · {sample.split}"]
    texts += [f"“{caption}”" for caption in sample.captions[:MOST_CAPTIONS]] or ["no caption"]
    more = len(sample.captions) - MOST_CAPTIONS
    texts += [f"and {more} more"] if more > 0 else []
    lines = Markup("<br>").join(texts)
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(image, lines)


def _data_uri(pixels: np.ndarray) -> str:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{b64encode(sink.getvalue()).decode()}"
