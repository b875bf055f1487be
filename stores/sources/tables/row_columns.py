"""The columns of files of rows, with those of their folders, and what is said of columns that are not read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from stores.sources.fields.labels import RawLabel, parse_captions, parse_label, parse_split
from stores.sources.fields.problems import Problems
from stores.sources.fields.splits import split_in_words
from stores.sources.folders.keys import columns_of_path
from stores.sources.items import UNKNOWN_BYTES, SourceItem
from stores.sources.paths import SourceError
from stores.sources.summary import DataSummary, DataWarning, FileKind, TableUse
from stores.sources.tables.columns import caption_warnings


def columns_in(name: str, columns: Sequence[str]) -> list[str]:
    """The columns of a file, and those that its folders are called by."""
    return list(dict.fromkeys([*columns, *columns_of_path(name)]))


def name_warnings(files: Sequence[str], summary: DataSummary) -> Iterator[DataWarning]:
    """Say that files without labels may be those of a class each."""
    words = sorted(os.path.splitext(os.path.basename(name))[0] for name in files)
    if len(words) > 1 and not summary.labeled and not summary.captioned and not any(map(_is_part, words)):
        shown = f"the {len(words)} files ({words[0]}, …) may be of a class each, which is not read"
        yield DataWarning(f"{shown}: if they are, put each into a folder such as label={words[0]}")


def configuration_warnings(files: Sequence[str], unused: Sequence[FileKind], where: str) -> Iterator[DataWarning]:
    """Say which configurations of a data set of the Hub are not read, or that what is read may be several.

    Args:
        files: those that are read.
        unused: those that are not, with a reason where they are of another configuration.
        where: the data set.
    """
    for kind in unused:
        if kind.reason is not None:
            message = f"{kind.count} files such as {kind.example} are not read: {kind.reason}"
            yield DataWarning(message, "path", f"{where}/{os.path.dirname(kind.example)}".rstrip("/"))
    tops: dict[str, set[str]] = {}
    for name in files:
        top, _, rest = name.partition("/")
        if rest and split_in_words(top) is None and not columns_of_path(f"{top}/"):
            tops.setdefault(rest, set()).add(top)
    largest = max(tops.values(), key=len, default=set[str]())
    several = sorted(largest)
    if len(several) > 1 and len({re.sub(r"\d+", "0", top) for top in several}) > 1:
        message = f"the folders {several[0]}, {several[1]}, … hold files of the same names and are read as one set"
        yield DataWarning(f"{message}: if they are configurations, name one of them", "path", f"{where}/{several[0]}")


def _is_part(stem: str) -> bool:
    """Whether a file's name says a split or has a number, as those of parts have."""
    return split_in_words(stem) is not None or any(map(str.isdigit, stem))


def column_warnings(use: TableUse) -> Iterator[DataWarning]:
    """Say which columns are not read that may be meant."""
    yield from caption_warnings(use.columns, use.roles.get("caption", []))
    rest = [column for column in use.columns if column not in use.roles["image"]]
    if rest and not use.roles.keys() & {"label", "caption"}:
        yield DataWarning(
            f"no column of labels or captions is known among {', '.join(rest[:8])}", "label_column", rest[0]
        )


def without_images(columns: Sequence[str], features: Mapping[str, object], kept: Sequence[str | None]) -> list[str]:
    """The columns without those of images, as Hugging Face's metadata has them, but for those that are kept."""
    kinds = {name: kind.get("_type") for name, kind in features.items() if isinstance(kind, dict)}
    return [column for column in columns if column in kept or kinds.get(column) != "Image"]


def refuse_images(columns: Sequence[str], records: Sequence[dict[str, object]], where: str) -> None:
    """Raise `SourceError` where the values of a column of labels are bytes, such as masks."""
    for column in columns:
        for record in records:
            value = record.get(column)
            if isinstance(value, bytes) or (isinstance(value, dict) and isinstance(value.get("bytes"), bytes)):
                raise SourceError(
                    f"{where}: expected labels in column {column!r}; received bytes, such as those of masks; name the "
                    "column of the labels with label_column"
                )


@dataclass(slots=True)
class FileRow:
    """A row as its file has it: its split is the file's until those of the column are read."""

    item: SourceItem
    label: RawLabel
    split_value: object
    split: str | None

    def read_split(self, root: str, asks_of: str | None, problems: Problems) -> None:
        """Take the split that the column has, where it has one; one that cannot be read is counted."""
        where = f"{root}/{self.item.source}, row {self.item.offset}"
        split = problems.attempt("split", partial(parse_split, asks_of=asks_of), self.split_value, where)
        self.split = split or self.split


def row_fields(values: dict[str, list[object]], where: str, problems: Problems) -> tuple[SourceItem, RawLabel]:
    """One row's fields; what cannot be read is counted and left out."""
    label = problems.attempt("label", parse_label, next(iter(values.get("label", ())), None), where)
    captions: list[str] = []
    for value in values.get("caption", ()):
        texts = problems.attempt("caption", parse_captions, value, where)
        captions += texts or []
    return SourceItem("", None, captions or None, None, "", 0, UNKNOWN_BYTES), label
