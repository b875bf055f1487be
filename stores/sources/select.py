"""Looks at what a path holds and opens the image source of that kind."""

from __future__ import annotations

import glob
import os
from dataclasses import replace
from pathlib import Path

from stores.sources.base import Source
from stores.sources.braces import expand_braces
from stores.sources.fields.hub_configs import HubFiles, hub_files
from stores.sources.files_source import FilesSource
from stores.sources.foreign import describe_foreign, foreign_format
from stores.sources.layouts.unread import kind_of as file_kind
from stores.sources.options import SourceOptions
from stores.sources.paths import (
    ARROW_SUFFIXES,
    TABLE_SUFFIXES,
    TAR_SUFFIXES,
    ZIP_SUFFIXES,
    DamagedArchiveError,
    SourceError,
    below_root,
    is_image,
)
from stores.sources.readers.arrow_files import arrow_data_files, holds_images
from stores.sources.readers.card import read_card
from stores.sources.readers.folder import FolderListing, hub_snapshot, list_folder
from stores.sources.rows_source import RowsSource
from stores.sources.summary import FileKind

ACCEPTED = (
    "a folder of images, a table (.csv, .tsv, .json, .jsonl, .parquet) beside its images, a tar (also .tar.gz, .tgz, "
    ".tar.bz2, .tar.xz, .tar.zst) or zip file, a Parquet or Arrow file, or a folder or pattern ('shards/*.tar', "
    "'shards/{000..127}.tar') of these"
)
# One kind of container is taken beside another when it holds at least this share of all images.
CLEAR_SHARE = 0.9
# What stands between several patterns, as WebDataset and its users write them.
JOINED = "::"
NO_OPTIONS = SourceOptions()


def open_source(path: str, options: SourceOptions = NO_OPTIONS, *, cache: str | None = None) -> Source:
    """The image source at `path`, its kind decided by what is there.

    Args:
        path: a folder, a file, or a pattern of files.
        options: what the user says about the layout.
        cache: folder for the unpacked copies that compressed tars need.

    Raises:
        SourceError: nothing or more than one kind of source is there, or the options do not fit it.
    """
    location = Path(path)
    if options.labels is not None and not os.path.isfile(options.labels):
        raise SourceError(f"{options.labels}: expected a table of labels or captions; received nothing; check the path")
    if location.is_dir():
        return _open_folder(str(location), options, cache)
    if location.is_file():
        return _open_files(str(location.parent), (location.name,), options, cache, alone=True)
    if glob.has_magic(path) or "{" in path or JOINED in path:
        return _open_pattern(path, options, cache)
    raise SourceError(f"{path}: expected {ACCEPTED}; received nothing there{_nearby(location)}; check the path")


def _nearby(location: Path) -> str:
    """What the nearest folder that exists holds, for a path that does not."""
    folder = next((parent for parent in location.parents if parent.is_dir()), None)
    if folder is None or str(folder) == "/":
        return ""
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f" ({folder} holds {shown or 'nothing'})"


def _open_folder(folder: str, options: SourceOptions, cache: str | None) -> Source:
    folder = hub_snapshot(folder)
    listing = list_folder(folder, options.follow_links)
    foreign = describe_foreign(folder, listing)
    sources = _candidates(folder, listing, options, cache)
    if len(sources) > 1:
        sources = _clear_winner(sources)
    if len(sources) != 1:
        found = " and ".join(sources) or foreign or "none of them"
        raise SourceError(
            f"{folder}: expected images, tar, zip, Parquet or Arrow files of one kind; received {found}; "
            "name the ones you mean, as in 'shards/*.tar'"
        )
    return next(iter(sources.values()))


def _candidates(folder: str, listing: FolderListing, options: SourceOptions, cache: str | None) -> dict[str, Source]:
    """The sources that a folder's files can be, by the name of their kind."""
    held: dict[str, tuple[str, ...]] = {}
    for name in listing.files:
        kind = kind_of(name)
        if kind:
            held[kind] = (*held.get(kind, ()), name) if kind != "images" else (name,)
    return {
        kind: source
        for kind, names in held.items()
        if (source := _source(kind, folder, names, listing, options, cache))
    }


def _source(
    kind: str, folder: str, names: tuple[str, ...], listing: FolderListing, options: SourceOptions, cache: str | None
) -> Source | None:
    if kind == "images":
        return FilesSource(folder, "folder", options=options, cache=cache)
    if kind in ("tar", "zip"):
        return _archives(folder, kind, names, options, cache)
    if kind == "arrow":
        names = arrow_data_files(folder, names)
    names = tuple(name for name in names if holds_images(below_root(folder, name, options.follow_links), kind))
    if not names:
        return None
    files = hub_files(read_card(folder), names)
    unused = _others(listing, names)
    if files is not None:
        names = tuple(name for name in names if name not in files.left_out)
        unused = (*_of_other_configurations(files), *unused)
    return RowsSource(folder, kind, names, False, options, unused, cache, _declared(files))


def _declared(files: HubFiles | None) -> tuple[tuple[str, str], ...]:
    """The split that the card gives to each file."""
    return tuple(files.splits.items()) if files is not None else ()


def _of_other_configurations(files: HubFiles) -> tuple[FileKind, ...]:
    """The files that are left out since they are of another configuration than the one that is read."""
    groups: dict[str, list[str]] = {}
    for name in files.left_out:
        groups.setdefault(files.why_left_out(name), []).append(name)
    return tuple(FileKind(file_kind(found[0]), len(found), min(found), why) for why, found in groups.items())


def _archives(
    folder: str, kind: str, names: tuple[str, ...], options: SourceOptions, cache: str | None
) -> Source | None:
    """The archives of a folder, of zips those that hold images, or tables beside others with images."""
    if kind == "zip":
        held = {name: _zip_holds(folder, name, options) for name in names}
        names = tuple(name for name in names if held[name]) if "images" in held.values() else ()
    return FilesSource(folder, kind, names, options=options, cache=cache) if names else None


def _zip_holds(folder: str, name: str, options: SourceOptions) -> str | None:
    """What a zip of a folder holds, "images", else "tables" (COCO's annotations_trainval2017.zip), or None."""
    try:
        tree = FilesSource(folder, "zip", (name,), whole=False, options=options).tree()
    except DamagedArchiveError:
        return "images"  # it may have held any, and is named as damaged
    except SourceError:
        return None
    return "images" if tree.images else "tables" if tree.tables else None


def _others(listing: FolderListing, names: tuple[str, ...]) -> tuple[FileKind, ...]:
    """The files of a folder of Parquet or Arrow files that are not read."""
    groups: dict[str, list[str]] = {}
    for name in listing.files.keys() - set(names):
        groups.setdefault(file_kind(name), []).append(name)
    for name in listing.skipped:
        groups.setdefault("hidden", []).append(name)
    return tuple(FileKind(kind, len(found), min(found)) for kind, found in sorted(groups.items()))


def _clear_winner(sources: dict[str, Source]) -> dict[str, Source]:
    """The one source with nearly all images, where there is one; else all of them."""
    counts = {kind: _count(source) for kind, source in sources.items()}
    total = sum(counts.values())
    best = max(counts, key=lambda kind: counts[kind])
    return {best: sources[best]} if total and counts[best] >= CLEAR_SHARE * total else sources


def _count(source: Source) -> int:
    try:
        return len(source.tree().images) if isinstance(source, FilesSource) else _rows(source)
    except SourceError:
        return 0


def _rows(source: Source) -> int:
    return source.num_rows() if isinstance(source, RowsSource) else 0


def kind_of(name: str) -> str | None:
    """What a file is by its name: "images", "tar", "zip", "parquet", "arrow" or None."""
    lower = name.lower()
    if is_image(name):
        return "images"
    suffixes = {"tar": TAR_SUFFIXES, "zip": ZIP_SUFFIXES, "parquet": (".parquet",), "arrow": ARROW_SUFFIXES}
    return next((kind for kind, endings in suffixes.items() if lower.endswith(endings)), None)


def _open_pattern(pattern: str, options: SourceOptions, cache: str | None) -> Source:
    joined = pattern.split(JOINED)
    patterns = [name for one in joined for name in expand_braces(one)]
    files = sorted({Path(found) for one in patterns for found in _matches(one)})
    if not files:
        raise SourceError(
            f"{pattern}: expected files that fit the pattern; received none{_nearby(_fixed(joined[0]))}; check it"
        )
    absent = [one for one in patterns if not glob.has_magic(one) and not os.path.isfile(one)]
    if absent:
        raise SourceError(
            f"{pattern}: expected {len(patterns)} files; received {len(patterns) - len(absent)}, without {absent[0]}; "
            "check it, or use *"
        )
    root = os.path.commonpath([_fixed(one) for one in joined]) if len(joined) > 1 else str(_fixed(pattern))
    names = tuple(os.path.relpath(file, root) for file in files)
    return _open_files(root, names, options, cache, alone=False)


def _matches(pattern: str) -> list[str]:
    found = glob.glob(pattern, recursive=True) if glob.has_magic(pattern) else [pattern]
    return [path for path in found if os.path.isfile(path)]


def _fixed(pattern: str) -> Path:
    """The folder before the first part of a pattern that has a wildcard or a brace."""
    parts = Path(pattern).parts
    first = next((number for number, part in enumerate(parts) if glob.has_magic(part) or "{" in part), len(parts) - 1)
    return Path(*parts[:first])


def _open_files(root: str, names: tuple[str, ...], options: SourceOptions, cache: str | None, *, alone: bool) -> Source:
    kinds = {kind_of(name) for name in names}
    for name in names:
        below_root(root, name, options.follow_links)
    if kinds in ({"tar"}, {"zip"}):
        return FilesSource(root, str(kinds.pop()), names, alone, False, options, cache)
    if kinds in ({"parquet"}, {"arrow"}) and _hold_images(root, names, options):
        declared = _declared(hub_files(read_card(root), names))
        return RowsSource(root, str(kinds.pop()), names, alone, options, cache=cache, declared=declared)
    if alone and names[0].lower().endswith(TABLE_SUFFIXES):
        table = os.path.join(root, names[0])
        return FilesSource(
            options.image_root or root, "folder", options=replace(options, labels=options.labels or table), cache=cache
        )
    raise SourceError(
        f"{os.path.join(root, names[0])}: expected {ACCEPTED}; "
        f"received {foreign_format(names[0]) or 'other files'}; name files of one kind"
    )


def _hold_images(root: str, names: tuple[str, ...], options: SourceOptions) -> bool:
    """Whether files of rows hold image bytes; those of several that do not are an error when they are read."""
    kind = str(kind_of(names[0]))
    return (
        len(names) > 1
        or (options.file_column is not None and kind == "arrow")
        or holds_images(Path(root, names[0]), kind)
    )
