"""Data sets whose JSON file has a format of its own: StyleGAN's and EDM2's labels, COCO's and Karpathy's captions."""

from __future__ import annotations

import posixpath
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property

from stores.sources.annotations.coco import is_coco_labels
from stores.sources.layouts.layout import ImageRow, Reading
from stores.sources.layouts.table import TableLayout
from stores.sources.layouts.table_search import MAX_FAILED
from stores.sources.layouts.tree import MAX_JSON_BYTES
from stores.sources.paths import SourceError
from stores.sources.tables.json_tables import load_json

HEAD_BYTES = 2**16


class _JsonLayout(TableLayout):
    """A table layout whose tables are JSON files of one format."""

    def candidates(self) -> Iterator[str]:
        others = 0
        for name in super().candidates():
            if name.lower().endswith(".json") and self._fits(name):
                yield name
            else:
                others += 1
            if others == MAX_FAILED:
                return

    def recognize(self) -> int:
        return 0 if self.options.labels is not None else super().recognize()

    @abstractmethod
    def _fits(self, name: str) -> bool:
        """Whether a JSON file has this layout's format, by its beginning."""

    def _head(self, name: str) -> bytes:
        with self.tree.open(name) as file:
            return file.read(HEAD_BYTES)


class DatasetJson(_JsonLayout):
    """Folders or a zip of images with a dataset.json of labels, which may be null."""

    name = "dataset-json"
    description = "dataset.json with a label for each image (StyleGAN, EDM2, REPA)"

    def recognize(self) -> int:
        if self.options.labels is not None:
            return 0
        return super().recognize() or (len(self.tree.images) if self._without_labels else 0)

    def list_images(self) -> Reading:
        if self._without_labels and not self.readings:
            rows = [ImageRow(name, split=self.split_of(name)) for name in self.tree.images]
            return Reading(rows, used=set(self._without_labels), detail="without labels")
        return super().list_images()

    def _fits(self, name: str) -> bool:
        head = self._head(name)
        return posixpath.basename(name).lower() == "dataset.json" and b'"labels"' in head and b'"sentences"' not in head

    @cached_property
    def _without_labels(self) -> list[str]:
        """Files that say that there are no labels."""
        jsons = (name for name in self.tree.files if name.endswith((".json", ".JSON")))
        found = [name for name in jsons if posixpath.basename(name).lower() == "dataset.json"]
        return [name for name in found if b'"labels":null' in self._head(name).replace(b" ", b"").replace(b"\n", b"")]


class CocoCaptions(_JsonLayout):
    """COCO's images in split folders with annotations/captions_*.json."""

    name = "coco-captions"
    description = "COCO: images in folders, captions in captions_*.json"

    def _fits(self, name: str) -> bool:
        return "caption" in posixpath.basename(name).lower() and self._is_coco(name)

    def _is_coco(self, name: str) -> bool:
        head = self._head(name)
        return b'"images"' in head or b'"annotations"' in head or b'"info"' in head


class CocoLabels(_JsonLayout):
    """COCO's JSON with a category for each image and neither boxes nor captions (iNaturalist, camera traps)."""

    name = "coco-labels"
    description = "a JSON file in COCO's format with the class of each image"

    def _fits(self, name: str) -> bool:
        head = self._head(name)
        keys = b'"images"', b'"annotations"', b'"categories"', b'"info"'
        if sum(key in head for key in keys) == 0 or self.tree.files[name].num_bytes > MAX_JSON_BYTES:
            return False
        with self.tree.open(name) as file:
            try:
                return is_coco_labels(load_json(file, name))
            except SourceError:
                return False


class KarpathySplit(_JsonLayout):
    """Karpathy's JSON of COCO and Flickr: images with sentences and splits."""

    name = "karpathy"
    description = "Karpathy's JSON of images, sentences and splits"

    def _fits(self, name: str) -> bool:
        head = self._head(name)
        return b'"sentences"' in head and b'"filename"' in head
