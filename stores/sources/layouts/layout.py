"""The contract of a layout: does it fit a tree of files, and which image has which label, captions and split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from stores.sources.fields.labels import RawLabel
from stores.sources.fields.problems import Problems
from stores.sources.layouts.tree import FileTree
from stores.sources.options import SourceOptions
from stores.sources.summary import DataWarning, TableUse, Unread

__all__ = ["ImageRow", "Layout", "Reading"]


@dataclass(slots=True)
class ImageRow:
    """An image as a layout reads it: its name in the tree (or of a file that a table names and that is missing)."""

    name: str
    label: RawLabel = None
    captions: list[str] | None = None
    split: str | None = None


@dataclass
class Reading:
    """How a layout reads a tree.

    Attributes:
        rows: the images, in the order of the index.
        used: names of other files that gave a field.
        unused: names of files that were left out for a reason of their own.
        class_names: names of integer labels, where the data set gives them.
        tables: the tables that were read.
        captions_per_line: whether lines of texts are captions; None where there are no such texts.
        warnings: what looks wrong.
        detail: what the description should add ("classes are the folders below Data/train").
    """

    rows: list[ImageRow]
    used: set[str] = field(default_factory=set)
    unused: dict[str, Unread] = field(default_factory=dict)
    class_names: list[str] | None = None
    tables: list[TableUse] = field(default_factory=list)
    captions_per_line: bool | None = None
    warnings: list[DataWarning] = field(default_factory=list)
    detail: str = ""


class Layout(ABC):
    """One way to arrange images, labels and captions in files.

    Attributes:
        name: what `SourceOptions.layout` calls it.
        description: the layout in one line, as a person would say it.
    """

    name: ClassVar[str]
    description: ClassVar[str]

    def __init__(self, tree: FileTree, options: SourceOptions) -> None:
        self.tree, self.options = tree, options
        self.problems = Problems()
        # Files that look like parts of another layout, with the reason why they are not used.
        self.rejected: dict[str, Unread] = {}

    @abstractmethod
    def recognize(self) -> int:
        """The number of images to which this layout gives a label, captions or a place in a list; 0: no fit."""

    @abstractmethod
    def list_images(self) -> Reading:
        """The images and what is known of each.

        Raises:
            SourceError: the tree does not have this layout, or the options do not fit it.
        """
