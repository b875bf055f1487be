"""Texts beside each image that give its label and captions: WebDataset, kohya, img2dataset and the like."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from functools import cached_property

from stores.sources.annotations.tools import plain_row
from stores.sources.fields.class_names import one_to_one_names
from stores.sources.fields.labels import parse_captions, parse_label, parse_split
from stores.sources.fields.problems import TEXT
from stores.sources.fields.several_labels import is_one_hot, only_label
from stores.sources.folders.meaning import understand_folders
from stores.sources.layouts.class_tars import ClassTars
from stores.sources.layouts.layout import ImageRow, Layout, Reading
from stores.sources.layouts.sibling_files import SiblingFiles, lies_in_labels
from stores.sources.layouts.sibling_warnings import class_warnings, line_warnings, rival_warnings, shared_warnings
from stores.sources.layouts.tree import FileTree
from stores.sources.lists.objects import are_objects, is_label, may_be_captions
from stores.sources.options import SourceOptions
from stores.sources.paths import SourceError
from stores.sources.summary import DataWarning, Unread
from stores.sources.tables.columns import (
    CAPTION_NAMES,
    LABEL_NAMES,
    LABEL_TEXT_NAMES,
    SPLIT_NAMES,
    caption_warnings,
    first_value,
    lower_keys,
)

# Names of fields that count in an object inside a text's object ({"meta": {"label": 3}}), too.
INNER_NAMES = {
    "label": ("label", "labels", "class", "cls", "category", "classid", "labelid", "categoryid"),
    "caption": ("caption", "captions", "text", "prompt", "description"),
    "split": (),
}
KNOWN_NAMES = {
    "label": frozenset(LABEL_NAMES),
    "caption": frozenset(CAPTION_NAMES),
    "split": frozenset(SPLIT_NAMES[:1]),
}
SAMPLE = 64
BOXES = Unread("boxes of objects, no captions")
NUMBERS = "whole numbers, which may be boxes of objects: if they are captions, choose the layout"
SECOND_TEXT = Unread("a second text of an image, of which one is read")
SECOND_IMAGE = Unread("a further image of a sample, of which one is read")


class Siblings(Layout):
    """Each image with .txt, .caption, .json or .cls files of its name."""

    name = "siblings"
    description = "a text file beside each image (.txt, .caption, .json, .cls)"

    def recognize(self) -> int:
        if not self._usable() or not self.files.by_stem:
            return 0
        with_texts = [name for name in self.tree.images if name not in self.files.fields and self.files.of(name)]
        step = max(1, len(with_texts) // SAMPLE)
        trial = type(self)(self.tree, self.options)
        trial.files = self.files
        rows = [*map(trial._row, with_texts[::step])]
        found = {"label": any(row.label is not None for row in rows), "caption": any(row.captions for row in rows)}
        self.roles = {role for role, there in found.items() if there}
        if trial.boxes:
            reason = Unread(NUMBERS, "layout", self.name) if trial.boxes <= trial.doubtful else BOXES
            self.rejected |= dict.fromkeys((text for name in with_texts for text in self.files.of(name)), reason)
        # Texts of which none can be read are an error of this layout, not plain images.
        return len(with_texts) + len(self.files.fields) if self.roles or trial.problems.to_list() else 0

    def _usable(self) -> bool:
        return not self.tree.in_archives

    def list_images(self) -> Reading:
        rows = [self._row(name) for name in self.tree.images if name not in self.files.fields]
        used = {text for row in rows for text in self.files.kinds_of(row.name).values()}
        splits = understand_folders(self.tree.path(row.name) for row in rows)
        for row in rows:
            row.split = row.split or splits.of(self.tree.path(row.name))[1] or self.tree.container_split(row.name)
        self.problems.check()
        return Reading(
            rows,
            used=used - self.boxes,
            unused=dict.fromkeys(self.files.rivals, SECOND_TEXT)
            | dict.fromkeys(self.boxes, BOXES)
            | dict.fromkeys(self.files.fields, SECOND_IMAGE),
            class_names=self._class_names(rows),
            captions_per_line=self._per_line if self._lines else None,
            warnings=[
                *self._line_warnings(),
                *([] if self._asked_texts else rival_warnings(self.files.rivals)),
                *shared_warnings(text for row in rows for text in self.files.kinds_of(row.name).values()),
                *caption_warnings(sorted(self._keys - {"captions"}), self._read_captions),
                *([] if any(row.label is not None for row in rows) else self._class_warnings(rows)),
            ],
        )

    def __init__(self, tree: FileTree, options: SourceOptions) -> None:
        super().__init__(tree, options)
        # What the texts give, by some of them.
        self.roles = set[str]()
        # Texts that hold boxes.
        self.boxes: set[str] = set()
        # Those of them that may be captions.
        self.doubtful: set[str] = set()
        # Numbers of labels with the names beside them.
        self._named: set[tuple[int, str]] = set()
        # Names of fields in objects beside images.
        self._keys: set[str] = set()
        self._files: SiblingFiles | None = None
        self._lines: Counter[bool] | None = None

    @property
    def files(self) -> SiblingFiles:
        if self._files is None:
            files = list(self.tree.files)
            if wanted := self._asked_texts:
                files.sort(key=lambda name: not _is_called(name, wanted))
            self._files = SiblingFiles(files, self.tree.images, self.tree.in_archives)
        return self._files

    @files.setter
    def files(self, value: SiblingFiles) -> None:
        self._files = value

    @cached_property
    def _asked_texts(self) -> str | None:
        """The folder or the suffix of the texts that are asked for as the column of captions."""
        wanted = self.options.caption_column
        return wanted if wanted and any(_is_called(name, wanted) for name in self.tree.files) else None

    @property
    def _per_line(self) -> bool:
        return self.options.captions_per_line is not False

    def _row(self, name: str) -> ImageRow:
        fields: dict[str, object] = {}
        for kind, text in self.files.kinds_of(name).items():
            fields |= self.problems.attempt(TEXT, self._parse, kind, text) or {}
        where = f"{self.tree.where}, {name}"
        if len(fields) == 1 and isinstance(fields.get("captions"), list) and not self._asks_for_columns:
            return ImageRow(name, None, self.problems.attempt("caption", parse_captions, fields["captions"], where))
        inner = [lower_keys(below) for below in fields.values() if isinstance(below, dict)]
        given = self._asked(fields, inner, "label", LABEL_NAMES)
        if isinstance(given, list) and not is_one_hot(given):
            given = only_label(given, where, self.problems)
        label = self.problems.attempt("label", parse_label, given, where)
        texts = self._asked(fields, inner, "caption", CAPTION_NAMES)
        captions = self.problems.attempt("caption", parse_captions, texts, where)
        part = self._asked(fields, inner, "split", SPLIT_NAMES[:1])
        split = self.problems.attempt("split", parse_split, part, where)
        self._name_label(label, fields)
        return ImageRow(name, label, captions, split)

    @cached_property
    def _asks_for_columns(self) -> bool:
        options = self.options
        return any((options.label_column, options.split_column, options.caption_column and not self._asked_texts))

    def _asked(
        self, fields: dict[str, object], inner: list[dict[str, object]], role: str, names: tuple[str, ...]
    ) -> object:
        """The value of a role: of the column asked for, else of the first name in the fields, or in objects in them."""
        wanted = getattr(self.options, f"{role}_column")
        wanted = None if role == "caption" and self._asked_texts else wanted
        if wanted is not None:
            return first_value(fields, tuple(lower_keys({wanted: 0})))
        if not KNOWN_NAMES[role].isdisjoint(fields) and (value := first_value(fields, names)) is not None:
            return value
        return next((found for below in inner if (found := first_value(below, INNER_NAMES[role])) is not None), None)

    def _name_label(self, label: object, fields: dict[str, object]) -> None:
        """Keep the name that stands beside a label's number."""
        if label is None:
            return
        given = fields.get("label")
        beside = given.get("name") if isinstance(given, dict) else first_value(fields, LABEL_TEXT_NAMES[:5])
        if str(label).isdecimal() and isinstance(beside, str) and not beside.isdecimal():
            self._named.add((int(str(label)), beside.strip()))

    def _parse(self, kind: object, where: str) -> dict[str, object]:
        """What the text at a path says, as one of its kind: "json", "label" or "text"."""
        content = self.tree.text(where)
        if kind == "json":
            fields = lower_keys(plain_row(parse_json_object(content, f"{self.tree.where}, {where}")))
            self._keys |= fields.keys()
            return fields
        lines = [line for line in content.splitlines() if line.strip()]
        if kind == "label" and (is_label(lines) or not lies_in_labels(where.rpartition("/")[0])):
            return {"label": content.strip()}
        if self.options.layout != self.name and are_objects(lines) and self._objects_are_meant(lines):
            self.boxes.add(where)
            self.doubtful |= {where} if may_be_captions(lines) else set()
            return {}
        self._lines = Counter() if self._lines is None else self._lines
        self._lines[len(lines) > 1] += 1
        return {"captions": lines if self._per_line else [content.strip()]}

    def _objects_are_meant(self, lines: list[str]) -> bool:
        """Whether most of the texts give objects: one such text among captions ("dog, 1, 2, 3, 4") is one too.

        Where the text may be a caption as well, all of them must give objects.
        """
        objects = self._count_of_objects
        return objects[True] >= objects[False] and not (objects[False] and may_be_captions(lines))

    @cached_property
    def _count_of_objects(self) -> Counter[bool]:
        """How many of the texts, or of some of them, give objects, and how many do not."""
        texts = (texts.get("text") or texts.get("label") for texts in self.files.by_stem.values())
        names = [text for text in texts if text is not None]
        found = Counter[bool]()
        for name in names[:: max(1, len(names) // SAMPLE)]:
            with contextlib.suppress(SourceError):
                lines = [line for line in self.tree.text(name).splitlines() if line.strip()]
                found[are_objects(lines)] += bool(lines)
        return found

    def _class_names(self, rows: list[ImageRow]) -> list[str] | None:
        numbers = {int(str(row.label)) for row in rows if str(row.label).isdecimal()}
        return (
            one_to_one_names(self._named, max(numbers)) if numbers == {n for n, _ in self._named} and numbers else None
        )

    def _line_warnings(self) -> Iterator[DataWarning]:
        return line_warnings(self._lines or Counter()) if self.options.captions_per_line is None else iter(())

    def _class_warnings(self, rows: list[ImageRow]) -> Iterator[DataWarning]:
        in_class_tars = self.tree.in_archives and ClassTars(self.tree, self.options).recognize() > 0
        return class_warnings([self.tree.path(row.name) for row in rows], in_class_tars)

    @property
    def _read_captions(self) -> list[str]:
        """The name of the captions in the objects beside images, where none is asked for."""
        read = [name for name in CAPTION_NAMES if name in self._keys and self.options.caption_column is None]
        return read[:1]


def _is_called(name: str, wanted: str) -> bool:
    """Whether a file lies in a folder of this name, or has this suffix."""
    *folders, base = name.split("/")
    return wanted in folders or base.endswith(f".{wanted.lstrip('.')}")


class WebDataset(Siblings):
    """Archives whose members with one key are one sample."""

    name = "webdataset"
    description = "archives of samples: members with one name before the first dot belong together"

    def _usable(self) -> bool:
        return self.tree.in_archives


def parse_json_object(text: str, where: str) -> dict[str, object]:
    """A JSON object.

    Raises:
        SourceError: the text is anything else.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: expected a JSON object; received text that is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise SourceError(f"{where}: expected a JSON object; received {type(record).__name__}")
    return record
