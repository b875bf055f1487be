"""Chooses the layout by which a tree of files is read: the one asked for, or the first that explains most images."""

from __future__ import annotations

from stores.sources.layouts.class_folders import ClassFolders
from stores.sources.layouts.class_tars import ClassTars
from stores.sources.layouts.json_layouts import CocoCaptions, CocoLabels, DatasetJson, KarpathySplit
from stores.sources.layouts.layout import Layout, Reading
from stores.sources.layouts.plain import PlainImages
from stores.sources.layouts.siblings import Siblings, WebDataset
from stores.sources.layouts.table import TableLayout
from stores.sources.layouts.tree import FileTree
from stores.sources.lists.label_lists import LabelLists, reads_asked_list
from stores.sources.options import SourceOptions
from stores.sources.paths import SourceError
from stores.sources.summary import DataWarning, Unread
from stores.sources.tables.columns import asked_column, asks_for_none

# The more a layout says of its own, the earlier it stands.
LAYOUTS: tuple[type[Layout], ...] = (
    DatasetJson,
    CocoCaptions,
    CocoLabels,
    KarpathySplit,
    TableLayout,
    WebDataset,
    Siblings,
    ClassTars,
    ClassFolders,
    LabelLists,
    PlainImages,
)
MOST = 0.5


def choose_layout(tree: FileTree, options: SourceOptions) -> Layout:
    """The layout of a tree.

    The first in `LAYOUTS` that explains more than half of the images is taken, else the one that explains most of
    them, else `PlainImages`.

    Raises:
        SourceError: the layout asked for does not exist.
    """
    if options.layout is not None:
        return _named(options.layout)(tree, options)
    if options.labels is not None:
        return _of_asked_list(tree, options) if reads_asked_list(tree, options) else TableLayout(tree, options)
    best: Layout = PlainImages(tree, options)
    most, rejected = 0, dict[str, Unread]()
    with_texts = 0
    for kind in LAYOUTS[:-1]:
        layout = kind(tree, options)
        count = layout.recognize()
        knows = issubclass(kind, LabelLists | Siblings)  # more of a text than a table does
        rejected = rejected | layout.rejected if knows else layout.rejected | rejected
        with_texts = max(with_texts, count if isinstance(layout, Siblings) else 0)
        if count > most:
            best, most = layout, count
        if count > MOST * len(tree.images):
            break
    best.rejected = rejected
    if with_texts and not isinstance(best, Siblings):
        message = f"{with_texts} of {len(tree.images)} images have texts beside them, which the layout {best.name}"
        name = WebDataset.name if tree.in_archives else Siblings.name
        tree.warnings.append(DataWarning(f"{message} does not read: if these are captions", "layout", name))
    return best


def _of_asked_list(tree: FileTree, options: SourceOptions) -> Layout:
    """The list that is asked for alone, or beside class folders where it names only images that lie in none."""
    lists, folders = LabelLists(tree, options), ClassFolders(tree, options)
    named = {row.name for row in lists.list_images().rows if row.label is not None or row.captions}
    return folders if named and folders.labels.keys().isdisjoint(named) and folders.recognize() else lists


def refuse_idle_columns(options: SourceOptions, layout: Layout, reading: Reading, where: str) -> None:
    """Raise `SourceError` when columns were asked for and nothing that has columns is read."""
    roles = ("file", "label", "caption", "split")
    columns = list(dict.fromkeys(column for use in reading.tables for column in use.columns))
    asked = {role: name for role in roles if (name := getattr(options, f"{role}_column")) is not None}
    if asks_for_none(asked.get("split"), columns):
        del asked["split"]
    if asked and not reading.tables and not isinstance(layout, Siblings):
        raise SourceError(
            f"{where}: expected a table or texts with {next(iter(asked.values()))!r}; received the layout "
            f"{layout.name}, which has no columns; give the table as labels, or leave the column out"
        )
    if isinstance(layout, TableLayout):
        for role, name in asked.items():
            asked_column(columns, name, where, role)


def layout_names() -> list[str]:
    """What `SourceOptions.layout` may be."""
    return [layout.name for layout in LAYOUTS]


def _named(name: str) -> type[Layout]:
    found = next((layout for layout in LAYOUTS if layout.name == name), None)
    if found is None:
        raise SourceError(
            f"layout: expected one of {', '.join(layout_names())}; received {name!r}; choose one of these"
        )
    return found
