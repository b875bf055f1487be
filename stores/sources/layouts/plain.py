"""Images whose folders and names say nothing: no labels, no captions, perhaps a split."""

from __future__ import annotations

from collections.abc import Iterator

from stores.sources.folders.meaning import understand_folders
from stores.sources.layouts.layout import ImageRow, Layout, Reading
from stores.sources.summary import DataWarning


class PlainImages(Layout):
    """Every image, without a label."""

    name = "images"
    description = "images without labels or captions"

    def recognize(self) -> int:
        return 0

    def list_images(self) -> Reading:
        paths = {name: self.tree.files[name].path.removeprefix(self.tree.wrapper) for name in self.tree.images}
        folders = understand_folders(paths.values())
        splits = {name: folders.of(path)[1] or self.tree.container_split(name) for name, path in paths.items()}
        rows = [ImageRow(name, split=split) for name, split in splits.items()]
        return Reading(rows, warnings=list(_part_warnings(folders.parts)))


def _part_warnings(parts: list[str]) -> Iterator[DataWarning]:
    """Say which folders were taken for parts of the set."""
    if parts:
        message = f"the {len(parts)} folders {parts[0]}, … are read as parts of one set: if they are classes"
        yield DataWarning(f"{message}, choose the layout", "layout", "class-folders")
