"""Labels or captions that a layout gives to no image, and texts beside the images or a list give to most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stores.sources.layouts.class_folders import ClassFolders
from stores.sources.layouts.class_tars import ClassTars
from stores.sources.layouts.layout import Layout, Reading
from stores.sources.layouts.plain import PlainImages
from stores.sources.layouts.siblings import Siblings, WebDataset
from stores.sources.lists.label_lists import LabelLists

MOST = 0.5
# Their labels are those of all images, or they know what lies beside an image.
WHOLE = (ClassFolders, ClassTars, PlainImages, LabelLists)


def add_further_fields(layout: Layout, reading: Reading) -> None:
    """Give the rows of tables and texts the labels or captions that none of them has, and say in the detail whose.

    A layout or a table that the user asks for is read as it is.
    """
    if isinstance(layout, WHOLE) or layout.options.layout is not None or layout.options.labels is not None:
        return
    for other in _others(layout, reading):
        missing = _missing(reading)
        if not missing:
            return
        if other.recognize() > MOST * len(layout.tree.images) and missing & other.roles:
            _fill(layout, reading, other, missing & other.roles)
        layout.rejected = other.rejected | layout.rejected


def _others(layout: Layout, reading: Reading) -> Iterator[Siblings | LabelLists]:
    """The readers of the files that the layout has not read."""
    tree, options = replace(layout.tree), layout.options
    tree.files = {name: file for name, file in layout.tree.files.items() if name not in reading.used}
    tree.images = layout.tree.images
    if not isinstance(layout, Siblings):
        yield WebDataset(tree, options) if tree.in_archives else Siblings(tree, options)
    yield LabelLists(tree, options)


def _missing(reading: Reading) -> set[str]:
    """Which of label and caption no row has."""
    has = {
        "label": any(row.label is not None for row in reading.rows),
        "caption": any(r.captions for r in reading.rows),
    }
    return {role for role, there in has.items() if not there}


def _fill(layout: Layout, reading: Reading, other: Siblings | LabelLists, roles: set[str]) -> None:
    found = other.list_images()
    known = {row.name: row for row in found.rows}
    for row in reading.rows:
        if (fields := known.get(row.name)) is not None:
            row.label = fields.label if "label" in roles else row.label
            row.captions = fields.captions if "caption" in roles else row.captions
            row.split = row.split or fields.split
    reading.class_names = found.class_names if "label" in roles else reading.class_names
    reading.captions_per_line = found.captions_per_line if "caption" in roles else reading.captions_per_line
    rows = {row.name for row in reading.rows}
    reading.used |= found.used - rows
    reading.unused |= {name: why for name, why in found.unused.items() if name not in rows}
    reading.tables += found.tables
    reading.warnings += [one for one in found.warnings if one.option in ("captions_per_line", "caption_column")]
    reading.detail = f"with the {' and the '.join(f'{role}s' for role in sorted(roles))} of {other.description}"
    layout.problems.merge(other.problems)
