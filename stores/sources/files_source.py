"""A source of image files: in a folder, in tars or in zips, read by the layout that fits them."""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO

from stores.sources.base import MAX_IMAGE_BYTES, Listing, Progress, Source
from stores.sources.fields.hub_configs import hub_files
from stores.sources.fields.problems import Problems
from stores.sources.folders.wrappers import wrapper_folder
from stores.sources.items import SourceItem
from stores.sources.layouts.choose import choose_layout, refuse_idle_columns
from stores.sources.layouts.class_name_files import apply_class_name_files
from stores.sources.layouts.listing import items_of, label_ids, require_images, summarize
from stores.sources.layouts.tree import FileTree, TreeFile, is_loose, keep_configuration
from stores.sources.listing_cache import ListingCache
from stores.sources.lists.further_fields import add_further_fields
from stores.sources.lists.id_lists import apply_id_lists
from stores.sources.lists.split_lists import apply_split_lists
from stores.sources.options import SourceOptions
from stores.sources.paths import (
    TAR_SUFFIXES,
    ZIP_SUFFIXES,
    DamagedArchiveError,
    SourceError,
    below_root,
    strip_suffix,
)
from stores.sources.readers.card import read_card
from stores.sources.readers.folder import FolderListing, list_folder, read_file
from stores.sources.readers.members import DAMAGED, Contents, Member
from stores.sources.readers.tar import TarReader
from stores.sources.readers.zip import ZipReader
from stores.sources.second_images import leave_out_second_images
from stores.sources.tables.table import columns_at

LISTING_THREADS = 8


@dataclass(frozen=True)
class FilesSource(Source):
    """Image files below `root`.

    Attributes:
        root: the folder that all paths are below.
        kind: "folder", "tar" or "zip": where the images lie.
        archives: the tars or zips, below `root`; none for a folder.
        alone: one archive that was named itself, so that keys need no name of it before them.
        whole: whether all other files of the folder belong to the data set too (its tables), not the archives alone.
        options: what the user says about the layout.
        cache: folder for the copies of compressed tars and for tables of contents.
    """

    root: str
    kind: str
    archives: tuple[str, ...] = ()
    alone: bool = False
    whole: bool = True
    options: SourceOptions = field(default_factory=SourceOptions)
    cache: str | None = None
    _tars: TarReader = field(init=False, repr=False, compare=False)
    _zips: ZipReader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        follow = self.options.follow_links
        object.__setattr__(self, "_tars", TarReader(self.root, self.cache, follow))
        object.__setattr__(self, "_zips", ZipReader(self.root, follow))

    def __reduce__(self) -> tuple[object, ...]:
        return FilesSource, (self.root, self.kind, self.archives, self.alone, self.whole, self.options, self.cache)

    @property
    def location(self) -> str:
        return f"{self.root}/{self.archives[0]}" if self.alone else self.root

    def container(self, source: str) -> Path:
        return below_root(self.root, source, self.options.follow_links)

    def read(self, source: str, offset: int, num_bytes: int) -> bytes:
        return self._read(source, offset, num_bytes, MAX_IMAGE_BYTES)

    def list_items(self, progress: Progress | None = None) -> Listing:
        cache = self._listing_cache()
        listing = cache.load() if cache else None
        if listing is None:
            with _without_collection():
                listing = self._list(progress)
            if cache:
                cache.save(listing)
        return listing

    def _listing_cache(self) -> ListingCache | None:
        """Where the listing of archives is kept; a folder of images has to be walked anyway."""
        if self.cache is None or not self.archives:
            return None
        names = list(self._loose().files) if self.whole and not self.alone else list(self.archives)
        name: list[object] = [self.kind, os.path.realpath(self.root), self.archives, self.alone, self.whole]
        return ListingCache(self.cache, name, self.options, [Path(self.root, one) for one in names])

    def _list(self, progress: Progress | None) -> Listing:
        tree = self.tree(progress)
        if not self.alone and (files := hub_files(read_card(self.root), self.archives or list(tree.files))):
            keep_configuration(tree, files)
        if not tree.images and self.options.labels is not None:
            columns = ", ".join(columns_at(self.options.labels)) or "none"
            raise SourceError(
                f"{self.root}: expected a column of image bytes, or the images that {self.options.labels} names (its "
                f"columns: {columns}); received {_shown(tree)}; give image_root, or the folder of the images and the "
                "table as labels"
            )
        if not tree.images:
            require_images([], self.location, _shown(tree))
        if self.options.layout is None:
            leave_out_second_images(tree, self.options)
        layout = choose_layout(tree, self.options)
        layout.problems.merge(tree.problems)
        reading = layout.list_images()
        add_further_fields(layout, reading)
        apply_id_lists(tree, reading)
        apply_split_lists(tree, reading)
        if self.options.class_names is None:
            apply_class_name_files(tree, reading)
        refuse_idle_columns(self.options, layout, reading, self.location)
        require_images(reading.rows, self.location, f"no image in the layout {layout.name}")
        raw = [row.label for row in reading.rows]
        ids, names = label_ids(raw, reading.class_names, self.options, self.location, layout.problems)
        items = items_of(tree, reading.rows, ids)
        refuse_equal_keys(items)
        return Listing(items, names, summarize(tree, layout, reading, items, names, len(self.archives)))

    def tree(self, progress: Progress | None = None) -> FileTree:
        """All files of the data set.

        Raises:
            SourceError: a folder or an archive that cannot be listed.
        """
        loose = self._loose()
        files: dict[str, TreeFile] = {}
        skipped = dict(loose.skipped)
        members: list[str] = []
        problems = Problems()
        for source, contents in self._list_archives(progress):
            problems.merge(contents.problems)
            stem = "" if self.alone else strip_suffix(source, TAR_SUFFIXES + ZIP_SUFFIXES)
            for archive, inside in _parts(stem, contents):
                start = f"{archive}/" if archive else ""
                files.update((start + path, TreeFile(archive, path, source, *one)) for path, one in inside.items())
                members += inside
            skipped |= {f"{stem}/{name}" if stem else name: reason for name, reason in contents.skipped.items()}
        archives = set(self.archives)
        for name, entry in loose.files.items():
            if name not in archives:
                files.setdefault(name, TreeFile("", name, name, 0, entry.stat().st_size))
        wrapper = wrapper_folder(members) if self.archives else ""
        if self.archives and not members and (damage := problems.to_list()):
            raise DamagedArchiveError(damage[0].example)
        return FileTree(
            self.location, self.kind, files, skipped, self._read_tree, self._open, wrapper, self.root, problems
        )

    def _loose(self) -> FolderListing:
        """The files of the folder itself, where they belong to the data set."""
        return list_folder(self.root, self.options.follow_links) if self.whole and not self.alone else FolderListing()

    def _list_archives(self, progress: Progress | None) -> list[tuple[str, Contents]]:
        """The contents of every archive, several at a time."""
        done: list[tuple[str, Contents]] = []
        if progress is not None and self.archives:
            progress(0, len(self.archives))
        with ThreadPoolExecutor(LISTING_THREADS, thread_name_prefix="list") as pool:
            for source, contents in zip(self.archives, pool.map(self._contents, self.archives), strict=True):
                done.append((source, contents))
                if progress is not None:
                    progress(len(done), len(self.archives))
        return done

    def _contents(self, source: str) -> Contents:
        try:
            return self._tars.contents(source) if self.kind == "tar" else self._zips.contents(source)
        except DamagedArchiveError as error:
            nothing = Contents()
            nothing.problems.add(DAMAGED, str(error))
            return nothing

    def _read(self, source: str, offset: int, num_bytes: int, most: int) -> bytes:
        kind = _archive_kind(source)
        if kind == "tar":
            return self._tars.read(source, offset, num_bytes, most)
        if kind == "zip":
            return self._zips.read(source, offset, num_bytes, most)
        return read_file(self.root, source, num_bytes, self.options.follow_links, most)

    def _read_tree(self, file: TreeFile, most: int) -> bytes:
        if is_loose(file):
            return read_file(self.root, file.source, file.num_bytes, self.options.follow_links, most)
        return self._read(file.source, file.offset, file.num_bytes, most)

    def _open(self, file: TreeFile, most: int) -> IO[bytes]:
        if is_loose(file):
            return below_root(self.root, file.source, self.options.follow_links).open("rb")
        return io.BytesIO(self._read_tree(file, most))


@lru_cache(maxsize=1024)  # of each text in an archive the archive is asked
def _archive_kind(source: str) -> str | None:
    """What a file is by its name: "tar", "zip" or None."""
    lower = source.lower()
    return "tar" if lower.endswith(TAR_SUFFIXES) else "zip" if lower.endswith(ZIP_SUFFIXES) else None


@contextmanager
def _without_collection() -> Iterator[None]:
    """No search for circular garbage while millions of small objects are made that all stay: a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parts(stem: str, contents: Contents) -> Iterator[tuple[str, dict[str, Member]]]:
    """The members of an archive and of those in it, each with the archive's name in the tree."""
    yield stem, contents.members
    for inner, members in contents.inner.items():
        yield f"{stem}/{inner}" if stem else inner, members


def refuse_equal_keys(items: list[SourceItem]) -> None:
    """Raise `SourceError` when two images have one key, naming both files."""
    seen: dict[str, str] = {}
    for item in items:
        if item.key in seen:
            raise SourceError(
                f"expected one image per key; received {item.key!r} in {seen[item.key]} and again in {item.source}; "
                "rename one of them"
            )
        seen[item.key] = item.source


def _shown(tree: FileTree) -> str:
    kinds: dict[str, int] = {}
    for name in tree.files:
        suffix = os.path.splitext(name)[1].lower() or "no suffix"
        kinds[suffix] = kinds.get(suffix, 0) + 1
    for reason in tree.skipped.values():
        if reason != "hidden":
            kinds[reason] = kinds.get(reason, 0) + 1
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda pair: -pair[1])[:8])
    archives = "; unpack zip files that lie in zip files" if ".zip" in kinds else ""
    return f"files of other kinds ({listed}){archives}" if listed else "none"
