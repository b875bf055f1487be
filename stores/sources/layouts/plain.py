"""Images whose folders and names say nothing: no labels, no captions, perhaps a split."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from stores.sources.fields.splits import TEST, split_in_words
from stores.sources.folders.meaning import understand_folders
from stores.sources.folders.nodes import says_nothing
from stores.sources.layouts.layout import ImageRow, Layout, Reading
from stores.sources.summary import DataWarning


class PlainImages(Layout):
    """Every image, without a label."""

    name = "images"
    description = "images without labels or captions"

    def recognize(self) -> int:
        return 0

    def list_images(self) -> Reading:
        paths = {name: self.tree.path(name) for name in self.tree.images}
        folders = understand_folders(paths.values())
        splits = {name: folders.of(path)[1] or self.tree.container_split(name) for name, path in paths.items()}
        rows = [ImageRow(name, split=split) for name, split in splits.items()]
        known = [row.name for row in rows if row.split != TEST]
        return Reading(rows, warnings=[*_part_warnings(folders.parts), *_name_warnings(known), *self._key_warnings()])

    def _key_warnings(self) -> Iterator[DataWarning]:
        """Say that images of an archive have one key, to the first dot of their names, as WebDataset has it."""
        keys: dict[str, list[str]] = {}
        for name in self.tree.images if self.tree.in_archives else ():
            folder, _, base = name.rpartition("/")
            keys.setdefault(f"{folder}/{base.partition('.')[0]}", []).append(name)
        several = [names for names in keys.values() if len(names) > 1]
        if len(several) > len(keys) / 2:
            first, second = several[0][:2]
            message = f"{len(several)} samples have several images, such as {first} and {second}: each is a row; if one"
            yield DataWarning(f"{message} alone is meant, write archives without the others")


def _part_warnings(parts: list[str]) -> Iterator[DataWarning]:
    """Say which folders were taken for parts of the set."""
    if parts:
        message = f"the {len(parts)} folders {parts[0]}, … are read as parts of one set: if they are classes"
        yield DataWarning(f"{message}, choose the layout", "layout", "class-folders")


# A name of words with a number behind them: "cat.0", "american_bulldog_12".
_NUMBERED = re.compile(r"([A-Za-z]+(?:[-_. ][A-Za-z]+)*)[-_. ]?\(?\d+\)?")


# As the tars of ImageNet on the Hugging Face Hub have them ("ILSVRC2012_val_00000001_n01751748").
_WNID = re.compile(r"(?:^|_)(n\d{8})(?:_|$)")


def _name_warnings(names: Sequence[str]) -> Iterator[DataWarning]:
    """Say that the names of the images begin with a few words, which may be classes."""
    stems = [posixpath.splitext(posixpath.basename(name))[0] for name in names]
    ids = {match[1] if (match := _WNID.search(stem)) else "" for stem in stems}
    if len(ids) > 1 and "" not in ids:
        message = (
            f"the names of the images hold {len(ids)} WordNet ids ({min(ids)}, …), which are not read: if these are"
        )
        yield DataWarning(f"{message} their classes, give each image's in a table, or make a folder of each", "labels")
        return
    found = [_NUMBERED.fullmatch(stem) for stem in stems]
    words = {match[1] for match in found if match}
    if (
        None in found
        or not 1 < len(words) <= len(found) / 2
        or any(split_in_words(w) or says_nothing(w) for w in words)
    ):
        return
    shown = ", ".join(sorted(words)[:3])
    message = f"the names of the images begin with one of {len(words)} words ({shown}), which is not read: if these are"
    yield DataWarning(f"{message} classes, give each image's in a table, or make a folder of each", "labels")
