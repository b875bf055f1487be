"""The contract of an image source: list the images once, then read any of them from its index row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stores.sources.items import UNKNOWN_BYTES, SourceItem
from stores.sources.paths import SourceError, contained_path
from stores.sources.readers.folder import MAX_IMAGE_BYTES
from stores.sources.summary import DataSummary

__all__ = ["MAX_IMAGE_BYTES", "UNKNOWN_BYTES", "Listing", "Progress", "Source", "SourceError", "SourceItem"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Listing:
    """All images of a source in the order they lie on disk; `class_names[label]` where classes have names.

    `summary` says how the source was understood.
    """

    items: list[SourceItem]
    class_names: list[str] | None
    summary: DataSummary


class Source(ABC):
    """A set of images under one root folder.

    A source holds only where it is and of which kind, so it pickles to any worker; files are opened when read, and
    `read` may be called from many threads at once.
    """

    root: str
    kind: str

    @abstractmethod
    def list_items(self, progress: Progress | None = None) -> Listing:
        """Every image, with label ids: integers as they are, names numbered in sorted order.

        Args:
            progress: called with the archives or tables listed and their number.

        Raises:
            SourceError: no image at all, two with one key, or no layout that fits.
        """

    @abstractmethod
    def read(self, source: str, offset: int, num_bytes: int) -> bytes:
        """The image's bytes, from the `source`, `offset` and `num_bytes` of its index row.

        Raises:
            SourceError: the row points outside the root, or the file is gone or has changed.
        """

    def container(self, source: str) -> Path:
        """The file on disk whose change means that the images in it may have changed."""
        return contained_path(self.root, source)

    @property
    def location(self) -> str:
        """What a person calls the source."""
        return self.root
