"""Looks at what a path holds and opens the image source of that kind."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from stores.sources.base import Source
from stores.sources.folder import FolderSource
from stores.sources.options import SourceOptions
from stores.sources.parquet import ParquetSource
from stores.sources.paths import SourceError, contained_path, is_image, walk
from stores.sources.table import TABLE_SUFFIXES, TableSource, has_file_column
from stores.sources.tar import TAR_SUFFIXES, TarSource

ACCEPTED = (
    "a folder of images, a .csv or .jsonl table beside its images, a tar file (also .tar.gz, .tgz, .tar.bz2, "
    ".tar.xz), a Parquet file, or a folder or pattern ('shards/*.tar') of tar or Parquet files"
)

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
    place = Path(path)
    if options.labels is not None:
        return _table_source(place, options.labels)
    if place.is_dir():
        return _open_folder(str(place), cache)
    if place.is_file():
        return _open_files(str(place.parent), (place.name,), cache, alone=True)
    if glob.has_magic(path):
        return _open_pattern(path, cache)
    raise SourceError(f"{path}: expected {ACCEPTED}, found nothing there; check the path")


def _table_source(folder: Path, labels: str) -> Source:
    if not folder.is_dir():
        raise SourceError(
            f"{folder}: expected a folder of images to go with the table {labels}, found none; leave it out"
        )
    if not labels.lower().endswith(TABLE_SUFFIXES) or not os.path.isfile(labels):
        raise SourceError(f"{labels}: expected a .csv or .jsonl table of labels; check the path")
    return TableSource(str(folder), labels)


def _open_folder(folder: str, cache: str | None) -> Source:
    table = _own_table(folder)
    if table is not None:
        return TableSource(folder, table)
    names = [name for name, _ in walk(folder)]
    held = {kind: tuple(name for name in names if kind_of(name) == kind) for kind in ("images", "tar", "parquet")}
    kinds = [kind for kind, files in held.items() if files]
    if len(kinds) != 1:
        raise SourceError(
            f"{folder}: expected images, tar files or Parquet files, found {' and '.join(kinds) or 'none of them'}; "
            "name the ones you mean, as in 'shards/*.tar'"
        )
    return FolderSource(folder) if kinds == ["images"] else _open_files(folder, held[kinds[0]], cache, alone=False)


def _own_table(folder: str) -> str | None:
    """The one table at the top of a folder that names files; more than one is an error, none is None."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    candidates = [os.path.join(folder, name) for name in sorted(names) if name.lower().endswith(TABLE_SUFFIXES)]
    tables = [table for table in candidates if has_file_column(table)]
    if len(tables) > 1:
        raise SourceError(f"{folder}: expected one table of labels, found {tables}; say which one is meant (labels)")
    return tables[0] if tables else None


def kind_of(name: str) -> str | None:
    """What a file is by its name: "images", "tar", "parquet", "table" or None."""
    lower = name.lower()
    if is_image(name):
        return "images"
    suffixes = {"tar": TAR_SUFFIXES, "parquet": (".parquet",), "table": TABLE_SUFFIXES}
    return next((kind for kind, endings in suffixes.items() if lower.endswith(endings)), None)


def _open_pattern(pattern: str, cache: str | None) -> Source:
    parts = Path(pattern).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    root = str(Path(*parts[:first]))
    files = sorted(Path(found) for found in glob.glob(pattern, recursive=True) if os.path.isfile(found))
    if not files:
        raise SourceError(f"{pattern}: expected tar or Parquet files, found no file that fits the pattern; check it")
    names = tuple(file.relative_to(root).as_posix() for file in files)
    return _open_files(root, names, cache, alone=False)


def _open_files(root: str, names: tuple[str, ...], cache: str | None, *, alone: bool) -> Source:
    kinds = {kind_of(name) for name in names}
    for name in names:
        contained_path(root, name)
    if kinds == {"tar"}:
        return TarSource(root, names, alone, cache)
    if kinds == {"parquet"}:
        return ParquetSource(root, names, alone)
    if kinds == {"table"} and alone:
        return TableSource(root, os.path.join(root, names[0]))
    raise SourceError(f"{os.path.join(root, names[0])}: expected {ACCEPTED}, found other files; name files of one kind")
