"""Which image of a tree a table's row means: by path, by file name, without suffix, or by number."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from stores.sources.fields.splits import TEST
from stores.sources.paths import IMAGE_SUFFIXES, is_image


@dataclass
class ImageIndex:
    """Finds images by what tables call them.

    Attributes:
        names: names of the images in the tree.
        split_of: the split that an image's path says, for tables that are of one split.
    """

    names: list[str]
    split_of: Callable[[str], str | None]

    def find(self, value: str, folder: str = "", split: str | None = None) -> str | None:
        """The one image that `value` can mean for a row of a table in `folder`, or None.

        Args:
            value: a path or a name, with or without a suffix.
            folder: the folder of the table, in which paths are tried first.
            split: the split of the row or the table, which decides between images of one name.
        """
        path = clean_path(value)
        for tried in dict.fromkeys((posixpath.normpath(posixpath.join(folder, path)), posixpath.normpath(path))):
            if tried in self._exact:
                return tried
            if (found := self._stems.get(_spelled(tried))) is not None and len(found) == 1:
                return found[0]
        return self._by_file_name(path, folder, split)

    def is_of_several(self, value: str) -> bool:
        """Whether several images have the name that `value` is, and it tells none of them."""
        base = _spelled(posixpath.basename(clean_path(value)))
        return len(self._bases.get(base) or self._base_stems.get(base) or ()) > 1 and self.find(value) is None

    def _by_file_name(self, path: str, folder: str, split: str | None) -> str | None:
        base = _spelled(posixpath.basename(path))
        found = self._bases.get(base) or self._base_stems.get(base)
        if not found and base.isdecimal():
            found = self._numbers.get(base.lstrip("0"))
        return self._only(found or [], path, folder, split)

    def _only(self, found: list[str], path: str, folder: str, split: str | None) -> str | None:
        """The one of several images of a name: in the table's folder, of its split, no test image, with its path."""
        for keep in (
            lambda name: not folder or name.startswith(f"{folder}/"),
            lambda name: split is None or self.split_of(name) in (split, None),
            lambda name: split is not None or self.split_of(name) != TEST,
            lambda name: f"/{name}".lower().endswith(f"/{path}".lower()),
            lambda name: f"/{posixpath.splitext(name)[0]}".lower().endswith(f"/{path}".lower()),
        ):
            if len(found) > 1:
                found = [name for name in found if keep(name)] or found
        if len(found) > 1:
            found = _longest_tail(found, path)
        return found[0] if len(found) == 1 else None

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(self.names)

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        return _grouped(self.names, lambda name: _spelled(posixpath.splitext(name)[0]))

    @cached_property
    def _bases(self) -> dict[str, list[str]]:
        return _grouped(self.names, lambda name: _spelled(posixpath.basename(name)))

    @cached_property
    def _base_stems(self) -> dict[str, list[str]]:
        return _grouped(self.names, lambda name: _spelled(posixpath.splitext(posixpath.basename(name))[0]))

    @cached_property
    def _numbers(self) -> dict[str, list[str]]:
        """Images whose names end in a number ("COCO_val2014_000000000042.jpg" is 42)."""
        numbered = (name for name in self.names if re.search(r"\d+\.\w+$", name))
        return _grouped(numbered, lambda name: re.findall(r"(\d+)\.\w+$", name)[0].lstrip("0"))


def _spelled(name: str) -> str:
    """A name in lower case, and of two ways to write an accent in Unicode (macOS has the other one) the shorter."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).lower()


def _longest_tail(found: list[str], path: str) -> list[str]:
    """The images whose path has most folders in common with one of another machine, counted from its end."""
    wanted = path.lower().split("/")[-2::-1]

    def common(name: str) -> int:
        own = name.lower().split("/")[-2::-1]
        return next(
            (n for n, (a, b) in enumerate(zip(own, wanted, strict=False)) if a != b), min(len(own), len(wanted))
        )

    most = max(map(common, found))
    return [name for name in found if common(name) == most] if most else found


def _grouped(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def clean_path(value: str) -> str:
    """A path as tables write it, with "/" between parts and nothing before the first folder."""
    path = value.strip().replace("\\", "/")
    if ":" in path[:5]:  # few have a scheme or a drive, and there may be millions
        path = re.sub(r"^(file://|[A-Za-z]:)", "", path)
    return path.lstrip("/") or "."


_FLOAT_ID = re.compile(r"\d+\.0")
_SUFFIXES = tuple(IMAGE_SUFFIXES)


def names_an_image(value: object) -> bool:
    """Whether a value looks like the name of an image file."""
    if not isinstance(value, str) or not value.rstrip().lower().endswith(_SUFFIXES):  # nearly all words of captions
        return False
    return len(value) < 4096 and is_image(clean_path(value))


def is_path_of(value: str, name: str) -> bool:
    """Whether a value is the path of an image, from its name on or from a folder of another machine on."""
    path, known = f"/{_spelled(clean_path(value))}", f"/{_spelled(name)}"
    return known.endswith(path) or path.endswith(known)


def as_file_value(value: object) -> str | None:
    """The file that a cell names, or None: a text, a number ("7" for 7.0), an object with a path, or a list of one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        value = value.get("path") or value.get("file_name") or value.get("filename")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and _FLOAT_ID.fullmatch(value):  # as pandas writes ids beside empty cells
        return value[:-2]
    return value.strip() or None if isinstance(value, str) else None
