"""From a layout's reading to index rows: keys, label ids, splits, and the summary of what was understood."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from stores.sources.fields.class_names import apply_class_names, contiguous
from stores.sources.fields.labels import RawLabel, composed, odd_kind, resolve_labels
from stores.sources.fields.problems import Problems
from stores.sources.fields.several_labels import may_be_several, without_joined
from stores.sources.fields.splits import TEST, VAL
from stores.sources.items import UNKNOWN_BYTES, SourceItem
from stores.sources.layouts.class_name_files import class_names_hint
from stores.sources.layouts.layout import ImageRow, Layout, Reading
from stores.sources.layouts.tree import FileTree
from stores.sources.layouts.unread import unread_files, unread_warnings
from stores.sources.options import SourceOptions
from stores.sources.paths import SourceError
from stores.sources.summary import DataSummary, DataWarning, summarize_rows

# Labels of more words that all differ, so many and more, may be captions.
WORDS_OF_LABELS, MIN_SENTENCES = 4, 3


def label_ids(
    raw: Sequence[RawLabel], declared: list[str] | None, options: SourceOptions, where: str, problems: Problems
) -> tuple[list[int | None], list[str] | None]:
    """Label ids and class names of the rows, as the options ask for.

    Args:
        raw: the label of each row.
        declared: names that the data set gives to its integers.
        options: `class_names` and `contiguous_labels` are used.
        where: what errors name.
        problems: counts labels of the wrong kind.

    Raises:
        SourceError: labels that fit neither each other nor the names.
    """
    raw = composed(raw)
    odd = odd_kind(raw)
    if odd is not None:
        for label in raw:
            if isinstance(label, odd) and not (isinstance(label, str) and label.isdecimal()):
                problems.add(
                    "label that is no number or name as the others are: the row has none", f"{where}: {label!r}"
                )
        raw = [
            None if (isinstance(label, odd) and not str(label).isdecimal()) or type(label) is odd is int else label
            for label in raw
        ]
    if declared is None and options.class_names is None:
        raw = without_joined(raw, where, problems)
    raw, declared = apply_class_names(raw, declared, options.class_names, where)
    ids, names = resolve_labels(raw, declared, where)
    return contiguous(ids, names) if options.contiguous_labels else (ids, names)


def settle_test(rows: Iterable[tuple[bool, str | None]]) -> str:
    """What the split "test" becomes: itself when none of its rows has a label or caption while others do, else "val".

    Args:
        rows: whether each row has a label or caption, and its split.
    """
    known = {True: False, False: False}
    for has_fields, split in rows:
        known[split == TEST] |= has_fields
    return TEST if known[False] and not known[True] else VAL


def items_of(tree: FileTree, rows: Sequence[ImageRow], ids: Sequence[int | None]) -> list[SourceItem]:
    """The index rows of a reading."""
    test = settle_test((row.label is not None or bool(row.captions), row.split) for row in rows)
    return [_item(tree, row, label, test) for row, label in zip(rows, ids, strict=True)]


def _item(tree: FileTree, row: ImageRow, label: int | None, test: str) -> SourceItem:
    split = test if row.split == TEST else row.split
    file = tree.files.get(row.name)
    if file is None:
        return SourceItem(row.name, label, row.captions, split, row.name, 0, UNKNOWN_BYTES)
    return SourceItem(tree.key(row.name), label, row.captions, split, file.source, file.offset, file.num_bytes)


def summarize(
    tree: FileTree, layout: Layout, reading: Reading, items: list[SourceItem], names: list[str] | None, containers: int
) -> DataSummary:
    """What was understood of a tree of files."""
    reading.unused = layout.rejected | reading.unused
    unread = list(unread_files(tree, reading))
    unused = [kind for kind, _ in unread]
    empty = DataSummary(
        path=tree.where,
        container=tree.kind,
        layout=layout.name,
        description=f"{layout.description}, {reading.detail}" if reading.detail else layout.description,
        containers=containers,
        tables=reading.tables,
        captions_per_line=reading.captions_per_line,
        unused=unused,
        unused_files=sum(kind.count for kind in unused),
        used_files=len(reading.used),
        problems=layout.problems.to_list(),
    )
    summary = summarize_rows(empty, items, names)
    hints = [*unread_warnings(tree, unread, summary), *class_names_hint(tree, reading, summary, names)]
    hints += caption_warnings(items)
    return replace(summary, warnings=[*tree.warnings, *reading.warnings, *hints, *label_warnings(summary)])


def label_warnings(summary: DataSummary) -> Iterator[DataWarning]:
    """What looks wrong in the labels."""
    used = [entry.id for entry in summary.classes if entry.images]
    if summary.ids_without_images and used:
        shown = ", ".join(map(str, summary.ids_without_images[:5]))
        more = ", …" if len(summary.ids_without_images) > 5 else ""
        yield DataWarning(
            f"labels {used[0]} … {used[-1]}, {len(used)} different: ids without images: {shown}{more}",
            "contiguous_labels",
            "true",
        )
    if joined := may_be_several({entry.name for entry in summary.classes if entry.name and entry.images}):
        message = f"{len(joined)} classes such as {joined[0]!r} are several classes in one text, read as one of its own"
        yield DataWarning(message)
    sentences = sum(len((entry.name or "").split()) > WORDS_OF_LABELS for entry in summary.classes)
    if MIN_SENTENCES <= summary.labeled == len(used) and sentences > len(used) / 2:
        column = next((use.roles["label"][0] for use in summary.tables if use.roles.get("label")), None)
        yield DataWarning("the labels are sentences that all differ: if they are captions", "caption_column", column)
    if len(used) == 1 and summary.images > 1 and summary.labeled == summary.images:
        yield DataWarning("all images are of one class", "layout", "images")
    if summary.labeled and summary.unlabeled and summary.splits.get(TEST, 0) < summary.unlabeled:
        yield DataWarning(f"{summary.unlabeled} of {summary.images} images have no label", "labels")


def caption_warnings(items: Sequence[SourceItem]) -> Iterator[DataWarning]:
    """Say that all captions are whole numbers."""
    captions = (item.caption for item in items if item.caption)
    first = next(captions, None)
    if first and _is_whole(first) and all(map(_is_whole, captions)):
        message = f"all captions are whole numbers, such as {first[0]}: if they are labels, give them in a table"
        yield DataWarning(message, "labels")


def _is_whole(captions: list[str]) -> bool:
    return len(captions) == 1 and captions[0].isdecimal()


def require_images(items: Sequence[object], where: str, summary: str) -> None:
    """Raise `SourceError` when there is no image, saying what is there."""
    if not items:
        raise SourceError(f"{where}: expected images; received {summary}; check the path, or give another")
