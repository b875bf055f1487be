"""Formats of data sets that are not read: named in the error, with what to do instead."""

from __future__ import annotations

import os

from stores.sources.readers.folder import FolderListing
from stores.sources.tables.table import columns_at

# Of these a data set without images may consist.
TABLES = (".parquet", ".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz")
MOST_COLUMNS = 8
FORMATS = {
    ".mdb": "an LMDB database (LSUN), which is not read: export its images to a folder or to tar files",
    ".lmdb": "an LMDB database, which is not read: export its images to a folder or to tar files",
    ".tfrecord": "TFRecord files, which are not read: export the images to tar files",
    ".mds": "MosaicML shards, which are not read: export the images to tar files",
    ".beton": "an FFCV file, which is not read: use the images that it was made from",
    ".rec": "a RecordIO file, which is not read: export its images to a folder",
    ".h5": "an HDF5 file, which is not read: export its images to a folder",
    ".hdf5": "an HDF5 file, which is not read: export its images to a folder",
    ".npz": "NumPy arrays, which are not read: save them as PNG files",
    ".npy": "NumPy arrays, which are not read: save them as PNG files",
    ".rar": "a RAR archive, which is not read: unpack it",
    ".7z": "a 7z archive, which is not read: unpack it",
    ".mp4": "videos, which are not read: save their frames as images",
    ".heic": "HEIC files, which are not read: convert them to JPEG or PNG",
    ".heif": "HEIF files, which are not read: convert them to JPEG or PNG",
}


def foreign_format(name: str) -> str | None:
    """What a file is, when it is of a format that is not read, with what to do instead."""
    return FORMATS.get(os.path.splitext(name)[1].lower())


def describe_foreign(folder: str, listing: FolderListing) -> str | None:
    """What a folder without images holds: a format that is not read, tables of addresses, or its files by kind."""
    kinds: dict[str, int] = {}
    for name in listing.files:
        kind = os.path.splitext(name)[1].lower() or "no suffix"
        kinds[kind] = kinds.get(kind, 0) + 1
    known = [FORMATS[kind] for kind in kinds if kind in FORMATS]
    if known:
        return known[0]
    if not kinds:
        return f"none of them ({len(listing.skipped)} hidden files or links)" if listing.skipped else None
    if ".zip" in kinds:
        return f"{kinds['.zip']} zip files without images; unpack zip files that lie in zip files"
    tables = [name for name in sorted(listing.files) if name.lower().endswith(TABLES)]
    if tables and len(tables) == len(listing.files):
        columns = ", ".join(columns_at(os.path.join(folder, tables[0]))[:MOST_COLUMNS]) or "none"
        return (
            f"tables without images ({tables[0]}, with the columns {columns}), whose images are not downloaded: "
            "img2dataset does that for addresses, image_root names the folder of paths; make PNG files of pixels"
        )
    shown = ", ".join(
        f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))[:8]
    )
    return f"none of them ({shown})"
