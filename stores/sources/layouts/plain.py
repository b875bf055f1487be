"""Images whose folders and names say nothing: no labels, no captions, perhaps a split."""

from __future__ import annotations

from stores.sources.layouts.folders import understand_folders
from stores.sources.layouts.layout import ImageRow, Layout, Reading


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
        return Reading([ImageRow(name, split=split) for name, split in splits.items()])
