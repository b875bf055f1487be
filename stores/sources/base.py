"""The contract of an image source: list the images once, then read any of them from its index row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stores.sources.items import UNKNOWN_BYTES, SourceItem
from stores.sources.labels import RawLabel, resolve_labels
from stores.sources.paths import SourceError, contained_path
from stores.sources.summary import DataSummary, summarize_rows

__all__ = ["MAX_IMAGE_BYTES", "UNKNOWN_BYTES", "Listing", "Source", "SourceError", "SourceItem"]

# A file above this is no image; reading it would only fill the memory of every reading thread.
MAX_IMAGE_BYTES = 256 * 1024 * 1024


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
    def entries(self) -> Iterator[tuple[SourceItem, RawLabel]]:
        """Yield each image with its label as it was written; `list_items` turns these into label ids."""

    @abstractmethod
    def read(self, source: str, offset: int, num_bytes: int) -> bytes:
        """The image's bytes, from the `source`, `offset` and `num_bytes` of its index row.

        Raises `SourceError` when the row points outside the root, or when the file is gone or has changed.
        """

    def declared_class_names(self) -> list[str] | None:
        """Names that the source itself gives to integer labels, if it does."""
        return None

    def container(self, source: str) -> Path:
        """The file on disk whose change means that the images in it may have changed."""
        return contained_path(self.root, source)

    @property
    def place(self) -> str:
        """What a person calls the source."""
        return self.root

    def list_items(self) -> Listing:
        """Every image, with label ids: integers as they are, names numbered in sorted order.

        Raises `SourceError` for no image at all, two with one key, or labels of mixed kinds.
        """
        pairs = list(self.entries())
        if not pairs:
            raise SourceError(f"{self.place}: expected images in this {self.kind} source, found none; check the path")
        refuse_equal_keys([item for item, _ in pairs])
        labels, names = resolve_labels([label for _, label in pairs], self.declared_class_names(), where=self.place)
        items = [replace(item, label=label) for (item, _), label in zip(pairs, labels, strict=True)]
        empty = DataSummary(self.place, self.kind, self.kind, f"images of a {self.kind} source")
        return Listing(items, names, summarize_rows(empty, items, names))


class FilesSource(Source):
    """A source of files that hold many images each: `names` below `root`; `alone` when one was named itself."""

    names: tuple[str, ...]
    alone: bool

    @property
    def place(self) -> str:
        return f"{self.root}/{self.names[0]}" if self.alone else self.root


def refuse_equal_keys(items: list[SourceItem]) -> None:
    """Raise `SourceError` when two images have one key, naming both files."""
    seen: dict[str, str] = {}
    for item in items:
        if item.key in seen:
            raise SourceError(
                f"expected one image per key, but {item.key!r} is in {seen[item.key]} and again in {item.source}; "
                "rename one of them"
            )
        seen[item.key] = item.source


def check_size(data: bytes, num_bytes: int, name: str) -> bytes:
    """`data` itself when it has the size its index row gives, `SourceError` otherwise."""
    if num_bytes not in (UNKNOWN_BYTES, len(data)):
        raise SourceError(
            f"{name}: expected {num_bytes} bytes, read {len(data)}: it changed since the scan; scan again"
        )
    return data


def read_whole_file(root: str, source: str, num_bytes: int) -> bytes:
    """The bytes of the regular file `source` below `root`, at most `MAX_IMAGE_BYTES`."""
    path = contained_path(root, source)
    if not path.is_file():
        raise SourceError(f"{path}: expected an image file, found {'something else' if path.exists() else 'nothing'}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_IMAGE_BYTES:
        raise SourceError(f"{path}: expected an image of at most {MAX_IMAGE_BYTES} bytes, found a larger file")
    return check_size(data, num_bytes, str(path))
