"""What was understood of a data set: pure data that a command prints, a manifest keeps and a person can check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from stores.sources.items import SourceItem

__all__ = [
    "ITSELF",
    "ClassCount",
    "DataSummary",
    "DataWarning",
    "FileKind",
    "Problem",
    "TableUse",
    "Unread",
    "splits_to_divide",
    "summarize_rows",
]


@dataclass(frozen=True)
class TableUse:
    """A table that gives images their fields: its path, its rows, and which column is read as what.

    Attributes:
        path: where the table lies, relative to the data set where it is inside.
        columns: all columns of the table.
        roles: role ("file", "image", "label", "caption", "split") to the columns read for it.
        rows: rows of the table.
        images: images that it names and that are there.
        missing: rows whose image is not there.
    """

    path: str
    columns: list[str] = field(default_factory=list)
    roles: dict[str, list[str]] = field(default_factory=dict)
    rows: int = 0
    images: int = 0
    missing: int = 0


@dataclass(frozen=True)
class ClassCount:
    """A class: its id, its name where it has one, and how many images it has."""

    id: int
    name: str | None
    images: int


@dataclass(frozen=True)
class FileKind:
    """Files that are not used: their kind (a suffix such as ".pdf"), their number, one of them, and why."""

    kind: str
    count: int
    example: str
    reason: str | None = None


# What stands for the name of a file, since one reason is that of many.
ITSELF = "{file}"


@dataclass(frozen=True)
class Unread:
    """Why a file of a data set is not read, and the `SourceOptions` field by which it is.

    Attributes:
        reason: in one sentence.
        option: the field to set; without one the file is listed and nothing more is said.
        value: the value to set it to, where one is known; `ITSELF` is the file's name.
        unless: what makes the file not worth a warning: a "table" that gives labels or captions, or "fields", labels or
            captions of any image; "" where it always is.
    """

    reason: str
    option: str | None = None
    value: str | None = None
    unless: Literal["", "table", "fields"] = ""


@dataclass(frozen=True)
class Problem:
    """Fields or rows that could not be read as they are: what happened to them, how often, and one of them."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True)
class DataWarning:
    """What looks wrong, and the `SourceOptions` field that repairs it, or "path" where another path does.

    Attributes:
        message: what was found, in one sentence.
        option: the field of `SourceOptions` to set, "path", "holdout", or None where no option helps.
        value: the value to set it to, where one is known.
    """

    message: str
    option: str | None = None
    value: str | None = None


@dataclass(frozen=True)
class DataSummary:
    """How a data set was understood.

    Attributes:
        path: what the user named.
        container: where the bytes lie: "folder", "tar", "zip", "parquet" or "arrow".
        containers: number of archives or tables of images; 0 for a folder.
        layout: name of the layout, as `SourceOptions.layout` takes it.
        description: the layout in one line.
        tables: tables that were used.
        images: rows of the index.
        classes: one entry a class id with a name or an image, in the order of the ids.
        ids_without_images: ids below the number of classes (or the largest id + 1) that no image has.
        labeled: images with a label.
        unlabeled: images without one.
        captioned: images with at least one caption.
        captions: captions of all images together.
        captions_per_line: whether each line of a text beside an image is a caption; None where there is no such text.
        splits: images a split, "train" and the like; "" for those whose split the holdout decides.
        unused: files that are neither an image of the index nor a field of one.
        unused_files: how many these are.
        used_files: files that are no image but gave fields: tables, and texts beside images.
        problems: fields and rows that could not be read.
        warnings: what looks wrong.
    """

    path: str
    container: str
    layout: str
    description: str
    containers: int = 0
    tables: list[TableUse] = field(default_factory=list)
    images: int = 0
    classes: list[ClassCount] = field(default_factory=list)
    ids_without_images: list[int] = field(default_factory=list)
    labeled: int = 0
    unlabeled: int = 0
    captioned: int = 0
    captions: int = 0
    captions_per_line: bool | None = None
    splits: dict[str, int] = field(default_factory=dict)
    unused: list[FileKind] = field(default_factory=list)
    unused_files: int = 0
    used_files: int = 0
    problems: list[Problem] = field(default_factory=list)
    warnings: list[DataWarning] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return asdict(self)

    @property
    def dividable(self) -> int:
        """Images of which a holdout takes a share."""
        return sum(count for split, count in self.splits.items() if split in splits_to_divide(self.splits))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DataSummary:
        """The summary that `to_json` gave; fields that this version does not know are left out.

        Raises:
            ValueError: values of another kind.
        """
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        nested = {
            "tables": TableUse,
            "classes": ClassCount,
            "unused": FileKind,
            "problems": Problem,
            "warnings": DataWarning,
        }
        try:
            lists = {name: [kind(**value) for value in known[name]] for name, kind in nested.items() if name in known}
            return cls(**(known | lists))
        except TypeError as error:
            raise ValueError(f"expected a summary of a data set; received {error}; extract the images again") from error


def summarize_rows(summary: DataSummary, items: Iterable[SourceItem], class_names: list[str] | None) -> DataSummary:
    """`summary` with everything that the index rows `items` say: classes, labels, captions and splits."""
    labels: Counter[int] = Counter()
    splits: Counter[str] = Counter()
    images = captioned = captions = 0
    for item in items:
        images += 1
        splits[item.split or ""] += 1
        captioned += bool(item.caption)
        captions += len(item.caption or ())
        if item.label is not None:
            labels[item.label] += 1
    names = class_names or []
    ids = sorted({*range(len(names)), *labels})
    classes = [ClassCount(id_, names[id_] if id_ < len(names) else None, labels[id_]) for id_ in ids]
    labeled = sum(labels.values())
    return replace(
        summary,
        images=images,
        classes=classes,
        ids_without_images=_missing_ids(labels, len(names)),
        labeled=labeled,
        unlabeled=images - labeled,
        captioned=captioned,
        captions=captions,
        splits=dict(sorted(splits.items())),
    )


def _missing_ids(labels: Counter[int], named: int) -> list[int]:
    """Ids that no image has: at most 10,000 of them, since a label may be any 32-bit number."""
    if not labels:
        return []
    end = max(named, max(labels) + 1)
    missing: list[int] = []
    for id_ in range(end):
        if id_ not in labels:
            missing.append(id_)
            if len(missing) == MAX_MISSING_IDS:
                break
    return missing


MAX_MISSING_IDS = 10_000


def splits_to_divide(splits: Collection[str | None]) -> frozenset[str | None]:
    """The splits of which a holdout takes a share: images without one; where none is held out, those of "train", too.

    Many data sets have nothing but a folder `train`, which then says no more than no folder at all.
    """
    return frozenset({None, ""} if "val" in splits else {None, "", "train"})
