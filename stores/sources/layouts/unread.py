"""Files of a data set that no layout reads: counted by kind and reason, and pointed out where they may be meant."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from stores.sources.fields.splits import TRAIN, words_of
from stores.sources.layouts.layout import Reading
from stores.sources.layouts.tree import FileTree
from stores.sources.lists.lines import stem_of
from stores.sources.summary import ITSELF, DataSummary, DataWarning, FileKind, Unread

GIVING_WORDS = frozenset(("label", "labels", "annotation", "annotations", "caption", "captions", "metadata"))
UNREAD_TABLES = frozenset((".xlsx", ".xls", ".ods", ".mat", ".pkl", ".pickle", ".npy", ".npz", ".h5", ".db", ".sqlite"))

# Words of files that say the parts of a set, often by numbers ("splits.json", "fold_indices.txt"), and their kinds.
PART_WORDS = frozenset(("split", "splits", "partition", "partitions", "folds", "indices"))
GIVING_KINDS = UNREAD_TABLES | {".json", ".jsonl", ".txt", ".csv", ".tsv", ".yaml", ".yml"}

ARCHIVES = frozenset((".zip", ".tar", ".tgz", ".gz", ".7z", ".rar"))

UnreadKind = tuple[FileKind, Unread | None]


def unread_files(tree: FileTree, reading: Reading) -> Iterator[UnreadKind]:
    """Files that are neither rows nor fields of one, by kind and reason."""
    rows = {row.name for row in reading.rows}
    groups: dict[tuple[str, Unread | None], list[str]] = {}
    for name in tree.files:
        if name not in rows and name not in reading.used:
            groups.setdefault((kind_of(name), reading.unused.get(name)), []).append(name)
    for name, reason in tree.skipped.items():
        groups.setdefault((kind_of(name) if reason != "hidden" else "hidden", Unread(reason)), []).append(name)
    for (kind, why), names in sorted(groups.items(), key=lambda pair: (-len(pair[1]), pair[0][0])):
        yield FileKind(_printable(kind), len(names), _printable(names[0]), why.reason if why else None), why


def _printable(name: str) -> str:
    """A name with bytes that are not UTF-8 written out, so that JSON can hold it."""
    return name.encode("utf-8", "backslashreplace").decode()


def kind_of(name: str) -> str:
    """A file's kind: its suffix in lower case, or "no suffix"."""
    base = os.path.basename(name)
    return os.path.splitext(base)[1].lower() or "no suffix"


def unread_warnings(tree: FileTree, unread: Iterable[UnreadKind], summary: DataSummary) -> Iterator[DataWarning]:
    """Say which files that are not read may be meant.

    Args:
        tree: the files.
        unread: those that are not read.
        summary: what was understood of the others.
    """
    has_fields = bool(summary.labeled or summary.captioned)
    has_table = any({"label", "caption"} & use.roles.keys() for use in summary.tables)
    idle = {"": False, "table": has_table, "fields": has_fields}
    for kind, why in unread:
        if why is not None and why.option is not None and not idle[why.unless]:
            value = kind.example if why.value == ITSELF else why.value
            yield DataWarning(f"{kind.example} is not used: {why.reason}", why.option, value)
    kinds = [kind for kind, _ in unread]
    if not summary.splits.keys() - {"", TRAIN}:
        yield from _split_warnings(kinds)
    if not has_fields:
        yield from _format_warnings([kind for kind, why in unread if why is None or why.option is None])
        yield from _object_warnings(tree, kinds)


def _split_warnings(unused: Iterable[FileKind]) -> Iterator[DataWarning]:
    """Files that are called by the parts of a set, where all images are of one part."""
    for kind in unused:
        if kind.kind in GIVING_KINDS and set(words_of(stem_of(kind.example))) & PART_WORDS:
            message = f"{kind.example} may say the parts of the set (train, val, test) and is not read"
            yield DataWarning(
                f"{message}; give them in a column of a table, by the names of the images", "split_column"
            )


def _format_warnings(unused: Iterable[FileKind]) -> Iterator[DataWarning]:
    """Files of formats that are not read which may hold the labels or captions of images that have none."""
    for kind in unused:
        packed = kind.kind in ARCHIVES and bool(set(words_of(stem_of(kind.example))) & GIVING_WORDS)
        compressed = packed or kind.example.lower().endswith(".txt.gz")
        if compressed or kind.kind in UNREAD_TABLES or _may_give_labels(kind):
            what = "unpack it" if compressed else "save its labels as a table (.csv) with the names of the images"
            yield DataWarning(f"{kind.example} may have labels or captions and is not read; {what}", "labels")


def _may_give_labels(kind: FileKind) -> bool:
    """Whether a file of text is called like one of labels, not of settings."""
    return kind.kind in GIVING_KINDS | {".xml"} and bool(set(words_of(stem_of(kind.example))) & GIVING_WORDS)


def _object_warnings(tree: FileTree, unused: Iterable[FileKind]) -> Iterator[DataWarning]:
    """Files of objects in XML or JSON that are called as the images (PASCAL VOC's, labelme's)."""
    kinds = [kind for kind in unused if kind.kind in (".xml", ".json")]
    images = set(map(stem_of, tree.images)) if kinds else set()
    for kind in kinds:
        if stem_of(kind.example) in images:
            message = f"{kind.count} files such as {kind.example} give objects in the images and are not read"
            yield DataWarning(f"{message}; if each image has one class, save it in a table (.csv)", "labels")
