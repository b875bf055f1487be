"""Tar files of images, read in place by byte offset; labels from WebDataset siblings or from folders in the tar."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stores.sources.base import MAX_IMAGE_BYTES, FilesSource, SourceItem, check_size
from stores.sources.labels import (
    CAPTION_COLUMNS,
    LABEL_COLUMNS,
    RawLabel,
    first_present,
    parse_captions,
    parse_label,
    parse_split,
)
from stores.sources.members import Member, list_members
from stores.sources.paths import SPLITS, SourceError, class_and_split, contained_path, container_split, is_image
from stores.sources.recent import Recent
from stores.sources.table import parse_json_object
from stores.sources.unpack import is_compressed, unpacked

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_SIBLING_BYTES = 1024 * 1024
MAX_OPEN_TARS = 64


class _Descriptor:
    """A read-only file descriptor that closes when its last user lets go."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.number)


@dataclass(frozen=True)
class TarSource(FilesSource):
    """The tar files `names` below `root`.

    `alone`: one file that was named itself, so keys need no tar name before them. A compressed tar is unpacked once
    into the folder `cache`, since nothing inside it can be reached by offset; offsets are those in the unpacked tar.
    """

    root: str
    names: tuple[str, ...]
    alone: bool
    cache: str | None = None
    kind = "tar"
    _open: Recent[_Descriptor] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_open", Recent(self._descriptor, MAX_OPEN_TARS))

    def __reduce__(self) -> tuple[object, ...]:
        return TarSource, (self.root, self.names, self.alone, self.cache)

    def entries(self) -> Iterator[tuple[SourceItem, RawLabel]]:
        members = {name: list_members(self._plain_tar(name), self.container(name)) for name in self.names}
        wrapper = wrapper_folder([m for held in members.values() for m in held])
        siblings = {name: sibling_table(held) for name, held in members.items()}
        folders_are_classes = not any(siblings.values())
        for name, held in members.items():
            for member in filter(is_image, held):
                fields = self._sibling_fields(name, member, siblings[name])
                yield self._entry(name, member.removeprefix(wrapper), held[member], fields, folders_are_classes)

    def read(self, source: str, offset: int, num_bytes: int) -> bytes:
        where = f"{self.root}/{source}, byte {offset}"
        if offset < 0 or not 0 <= num_bytes <= MAX_IMAGE_BYTES:
            raise SourceError(f"{where}: expected an offset ≥ 0 and a size up to {MAX_IMAGE_BYTES}, found {num_bytes}")
        try:
            return check_size(pread(self._open.get(source).number, num_bytes, offset), num_bytes, where)
        except OSError as error:
            raise SourceError(f"{where}: cannot be read: {error.strerror}") from error

    def _plain_tar(self, source: str) -> Path:
        path = contained_path(self.root, source)
        return unpacked(path, self.cache) if is_compressed(path) else path

    def _descriptor(self, source: str) -> _Descriptor:
        return _Descriptor(self._plain_tar(source))

    def _entry(
        self, name: str, key: str, place: Member, fields: dict[str, object], folders_are_classes: bool
    ) -> tuple[SourceItem, RawLabel]:
        where = f"{self.root}/{name}, {key}"
        class_name, split = class_and_split(key)
        label = parse_label(first_present(fields, LABEL_COLUMNS), where)
        split = parse_split(fields.get("split"), where) or split or container_split(name)
        captions = parse_captions(first_present(fields, CAPTION_COLUMNS), where)
        full_key = key if self.alone else f"{strip_suffix(name)}/{key}"
        item = SourceItem(full_key, None, captions, split, name, place.offset, place.num_bytes)
        return item, class_name if folders_are_classes else label

    def _sibling_fields(self, name: str, image: str, siblings: dict[tuple[str, str], Member]) -> dict[str, object]:
        """What the files beside an image say: .json fields, .cls as "label", the lines of .txt as "captions"."""
        fields: dict[str, object] = {}
        for suffix in ("json", "cls", "txt"):
            member = next((siblings[stem, suffix] for stem in stems(image) if (stem, suffix) in siblings), None)
            if member is not None:
                fields |= parse_sibling(suffix, self._text(name, image, member), f"{name}, {image}")
        return fields

    def _text(self, name: str, image: str, member: Member) -> str:
        where = f"{self.root}/{name}, the text beside {image}"
        if member.num_bytes > MAX_SIBLING_BYTES:
            raise SourceError(f"{where}: expected at most {MAX_SIBLING_BYTES} bytes, found {member.num_bytes}")
        try:
            return self.read(name, member.offset, member.num_bytes).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SourceError(f"{where}: expected UTF-8, found other bytes ({error.reason})") from error


def pread(descriptor: int, num_bytes: int, offset: int) -> bytes:
    """Up to `num_bytes` from `offset`, fewer only at the end of the file (one call may return less than asked)."""
    data = os.pread(descriptor, num_bytes, offset)
    while len(data) < num_bytes and (more := os.pread(descriptor, num_bytes - len(data), offset + len(data))):
        data += more
    return data


def parse_sibling(suffix: str, text: str, where: str) -> dict[str, object]:
    """The fields of one WebDataset sibling of type "json", "cls" or "txt"."""
    if suffix == "json":
        return parse_json_object(text, where)
    return {"label": text.strip()} if suffix == "cls" else {"captions": text.splitlines()}


def stems(image: str) -> tuple[str, str]:
    """What an image's siblings may be called: its name without the suffix, or (WebDataset) up to the first dot."""
    folder, _, file_name = image.rpartition("/")
    return os.path.splitext(image)[0], f"{folder}/{file_name.split('.')[0]}".lstrip("/")


def sibling_table(members: dict[str, Member]) -> dict[tuple[str, str], Member]:
    """The .json, .cls and .txt members that stand beside an image, by (stem, suffix)."""
    wanted = {stem for name in members if is_image(name) for stem in stems(name)}
    texts = {
        (os.path.splitext(name)[0], os.path.splitext(name)[1][1:].lower()): member for name, member in members.items()
    }
    return {key: member for key, member in texts.items() if key[0] in wanted and key[1] in ("json", "cls", "txt")}


def wrapper_folder(names: list[str]) -> str:
    """The one top folder ("imagenette2/") that holds nothing but the folders of all images, or ""."""
    images = [name.split("/") for name in names if is_image(name)]
    tops = {parts[0] for parts in images}
    if len(tops) != 1 or any(len(parts) < 3 for parts in images) or next(iter(tops)).lower() in SPLITS:
        return ""
    # One folder in one folder may just as well be the only class.
    return f"{next(iter(tops))}/" if len({parts[1] for parts in images}) > 1 else ""


def strip_suffix(name: str) -> str:
    """A tar's name without its suffix ("a/b.tar.gz" becomes "a/b")."""
    suffix = next(suffix for suffix in sorted(TAR_SUFFIXES, key=len, reverse=True) if name.lower().endswith(suffix))
    return name[: -len(suffix)]
