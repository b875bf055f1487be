"""Texts beside each image that give its label and captions: WebDataset, kohya, img2dataset and the like."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable

from stores.sources.fields.labels import parse_captions, parse_label, parse_split
from stores.sources.fields.problems import TEXT
from stores.sources.layouts.folders import understand_folders
from stores.sources.layouts.layout import ImageRow, Layout, Reading
from stores.sources.layouts.tree import FileTree
from stores.sources.options import SourceOptions
from stores.sources.paths import SourceError
from stores.sources.summary import DataWarning
from stores.sources.tables.columns import CAPTION_NAMES, LABEL_NAMES, SPLIT_NAMES, first_value, lower_keys

CAPTION_SUFFIXES = frozenset(("txt", "caption", "captions", "text", "prompt"))
LABEL_SUFFIXES = frozenset(("cls", "class", "label"))
SUFFIXES = CAPTION_SUFFIXES | LABEL_SUFFIXES | {"json"}
LABEL_WORDS = frozenset(("cls", "class", "label", "category", "target"))
# Of several images with one key, the row is the one with no word between key and suffix, or with the first of these.
MAIN_WORDS = ("", "image", "img", "input", "rgb", "original", "source", "target")
# Above so many different words between key and suffix these are parts of names, not names of fields.
MAX_FIELD_WORDS = 16
SAMPLE = 64
# An object's class and its box or outline in shares of width and height, as YOLO's label files have it.
BOX = re.compile(r"\s*\d+(?=.*\.)(\s+-?\d*\.?\d+(e-?\d+)?){4,}\s*")
BOXES = "boxes of objects, no captions"
SECOND_IMAGE = "a further image of a sample, of which one is read"


class SiblingFiles:
    """Which texts stand beside which image of a tree.

    A text belongs to the image with its name before the suffix or, in archives and as WebDataset has it, to all
    images with its name up to the first dot. There, further images with one such key are fields of the first.
    """

    def __init__(self, files: Iterable[str], images: list[str], in_archives: bool) -> None:
        self.by_stem: dict[str, dict[str, str]] = {}
        stem_of = {name: stem_and_suffix(name)[0] for name in images}
        stems = set(stem_of.values())
        keys = {key_of(name) for name in images} if in_archives else set()
        for name in files:
            stem, suffix = stem_and_suffix(name)
            if suffix not in SUFFIXES:
                continue
            if stem not in stems and stem not in keys:
                stem = key_of(name)
            if stem in keys or stem in stems:
                self.by_stem.setdefault(stem, {}).setdefault(_kind(name, suffix), name)
        several = in_archives and len(keys) < len(images)
        self.fields = _second_images(images) if several and self.by_stem else set[str]()
        self._texts = {name: texts for name, stem in stem_of.items() if (texts := self._of(name, stem, in_archives))}

    def of(self, image: str) -> list[str]:
        """The texts beside an image; of two of one kind the one with its whole name counts."""
        return self._texts.get(image, [])

    def _of(self, image: str, stem: str, in_archives: bool) -> list[str]:
        found = self.by_stem.get(stem, {})
        if in_archives and (key := key_of(image)) != stem:
            found = self.by_stem.get(key, {}) | found
        return [found[kind] for kind in sorted(found)]


def stem_and_suffix(name: str) -> tuple[str, str]:
    """A path without its suffix, and the suffix in lower case without its dot."""
    dot = name.rfind(".")
    return (name[:dot], name[dot + 1 :].lower()) if dot > name.rfind("/") + 1 else (name, "")


def key_of(name: str) -> str:
    """A file's key in WebDataset: its path up to the first dot of its name."""
    folder, slash, file_name = name.rpartition("/")
    return f"{folder}{slash}{file_name.split('.')[0]}"


def _words_between(name: str) -> str:
    """What stands between key and suffix: "seg" in "a/x.seg.png"."""
    return ".".join(name.rpartition("/")[2].split(".")[1:-1]).lower()


def _kind(name: str, suffix: str) -> str:
    """One of "json", "label" and "text", which is the order in which fields of one name win."""
    if suffix == "json":
        return "json"
    if suffix in LABEL_SUFFIXES:
        return "label"
    return "label" if name.count(".") > 1 and _words_between(name).split(".")[-1] in LABEL_WORDS else "text"


def _second_images(images: list[str]) -> set[str]:
    """Images that are fields of another one with their key."""
    words = {_words_between(name) if name.count(".") > 1 else "" for name in images}
    if len(words) > MAX_FIELD_WORDS or any(word.isdigit() for word in words):
        return set()
    by_key: dict[str, list[str]] = {}
    for name in images:
        by_key.setdefault(key_of(name), []).append(name)
    rank = {word: place for place, word in enumerate(MAIN_WORDS)}
    several = [group for group in by_key.values() if len(group) > 1]
    mains = {min(group, key=lambda name: rank.get(_words_between(name), len(rank))) for group in several}
    return {name for group in several for name in group} - mains


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
        says_something = any(row.label is not None or row.captions for row in map(trial._row, with_texts[::step]))
        if trial.boxes:
            self.rejected |= dict.fromkeys((text for name in with_texts for text in self.files.of(name)), BOXES)
        # Texts of which none can be read are an error of this layout, not plain images.
        return len(with_texts) + len(self.files.fields) if says_something or trial.problems.to_list() else 0

    def _usable(self) -> bool:
        return not self.tree.in_archives

    def list_images(self) -> Reading:
        rows = [self._row(name) for name in self.tree.images if name not in self.files.fields]
        used = {text for row in rows for text in self.files.of(row.name)}
        splits = understand_folders(self._member_path(row.name) for row in rows)
        for row in rows:
            row.split = row.split or splits.of(self._member_path(row.name))[1] or self.tree.container_split(row.name)
        self.problems.check()
        return Reading(
            rows,
            used=used - self.boxes,
            unused=dict.fromkeys(self.boxes, BOXES) | dict.fromkeys(self.files.fields, SECOND_IMAGE),
            captions_per_line=self._per_line if self._lines else None,
            warnings=[*self._line_warnings(), *self._folder_warnings(rows)],
        )

    def __init__(self, tree: FileTree, options: SourceOptions) -> None:
        super().__init__(tree, options)
        # Texts that hold boxes.
        self.boxes: set[str] = set()
        self._files: SiblingFiles | None = None
        self._lines: Counter[bool] | None = None

    @property
    def files(self) -> SiblingFiles:
        if self._files is None:
            self._files = SiblingFiles(self.tree.files, self.tree.images, self.tree.in_archives)
        return self._files

    @files.setter
    def files(self, value: SiblingFiles) -> None:
        self._files = value

    def _member_path(self, name: str) -> str:
        return self.tree.files[name].path.removeprefix(self.tree.wrapper)

    @property
    def _per_line(self) -> bool:
        return self.options.captions_per_line is not False

    def _row(self, name: str) -> ImageRow:
        fields: dict[str, object] = {}
        for text in self.files.of(name):
            fields |= self._fields(text)
        where = f"{self.tree.where}, {name}"
        label = self.problems.attempt("label", parse_label, self._asked(fields, "label", LABEL_NAMES), where)
        captions = self.problems.attempt(
            "caption", parse_captions, self._asked(fields, "caption", CAPTION_NAMES), where
        )
        split = self.problems.attempt("split", parse_split, self._asked(fields, "split", SPLIT_NAMES[:1]), where)
        return ImageRow(name, label, captions, split)

    def _asked(self, fields: dict[str, object], role: str, names: tuple[str, ...]) -> object:
        wanted = getattr(self.options, f"{role}_column")
        return first_value(fields, names if wanted is None else tuple(lower_keys({wanted: 0})))

    def _fields(self, text: str) -> dict[str, object]:
        """What one text says, {} with the problem counted where it cannot be read."""
        fields = self.problems.attempt(TEXT, self._parse, text, text)
        return fields or {}

    def _parse(self, text: object, where: str) -> dict[str, object]:
        content = self.tree.text(where)
        kind = _kind(where, stem_and_suffix(where)[1])
        if kind == "json":
            return lower_keys(parse_json_object(content, f"{self.tree.where}, {where}"))
        if kind == "label":
            return {"label": content.strip()}
        lines = [line for line in content.splitlines() if line.strip()]
        if lines and all(map(BOX.fullmatch, lines)):
            self.boxes.add(where)
            return {}
        self._lines = Counter() if self._lines is None else self._lines
        self._lines[len(lines) > 1] += 1
        return {"captions": lines if self._per_line else [content.strip()]}

    def _line_warnings(self) -> list[DataWarning]:
        several = self._lines[True] if self._lines else 0
        if not several or self.options.captions_per_line is not None:
            return []
        total = sum((self._lines or Counter()).values())
        message = f"{several} of {total} texts have several lines: each line is read as a caption of its own"
        return [DataWarning(message, "captions_per_line", "false")]

    def _folder_warnings(self, rows: list[ImageRow]) -> list[DataWarning]:
        """Say that folders are no classes where texts give the captions."""
        if any(row.label is not None for row in rows):
            return []
        paths = [self._member_path(row.name) for row in rows]
        meaning = understand_folders(paths)
        classes = {name for path in paths if (name := meaning.of(path)[0]) is not None}
        named = sorted(name for name in classes if not name.isdigit())
        if len(named) < 2:
            return []
        message = f"the {len(named)} folders ({named[0]}, …) are not read as classes, since texts give the captions"
        return [DataWarning(message, "layout", "class-folders")]


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
