"""A folder tree of images whose first folder level, below an optional split folder, is the class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stores.sources.base import Source, SourceItem, read_whole_file
from stores.sources.labels import RawLabel
from stores.sources.paths import class_and_split, is_image, safe_name, walk


@dataclass(frozen=True)
class FolderSource(Source):
    """Images at any depth below `root`; a flat folder has no labels."""

    root: str
    kind = "folder"

    def entries(self) -> Iterator[tuple[SourceItem, RawLabel]]:
        for name, entry in walk(self.root):
            if is_image(name):
                key = safe_name(name, self.root)
                class_name, split = class_and_split(key)
                yield SourceItem(key, None, None, split, key, 0, entry.stat().st_size), class_name

    def read(self, source: str, offset: int, num_bytes: int) -> bytes:
        return read_whole_file(self.root, source, num_bytes)
