"""The stores in a folder or at a URL, by their names and in the order in which they were planned."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from stores.backends import ByteStore, Location, inside, open_bytestore
from stores.format import MANIFEST, MAX_MANIFEST_BYTES, Manifest, StoreError, StoreNotFoundError

ARCHIVE = "archive.json"
_SHOWN = 3
_FOLDER = re.compile(r"(.+)-[0-9a-f]{12}")


def store_locations(parent: Location, name: str | None = None) -> Iterator[Location]:
    """Every `parent/<name>-<fingerprint12>`, of any name when it is None, whatever it holds."""
    for folder in open_bytestore(parent).folders():
        found = _FOLDER.fullmatch(folder)
        if found and name in (None, found[1]):
            yield inside(parent, folder)


def list_manifests(parent: Location, name: str | None = None) -> list[tuple[Location, Manifest | None]]:
    """(location, manifest) of every store below `parent`, finished or not, oldest first.

    None stands for a manifest that cannot be read; such stores come first.
    """
    found: list[tuple[Location, Manifest | None]] = []
    for location in store_locations(parent, name):
        blobs = open_bytestore(location)
        if not blobs.exists(MANIFEST):
            continue
        try:
            found.append((location, read_manifest(blobs)))
        except (StoreError, OSError):
            found.append((location, None))
    return sorted(found, key=lambda entry: (entry[1].created_unix_seconds if entry[1] else 0.0, str(entry[0])))


def find_manifests(parent: Location, name: str | None = None) -> list[tuple[Location, Manifest]]:
    """(location, manifest) of every store below `parent`, finished or not, oldest first.

    Raises:
        CorruptStoreError, ForeignStoreError: a manifest that cannot be read.
    """
    found = list_manifests(parent, name)
    return [(location, manifest or read_manifest(open_bytestore(location))) for location, manifest in found]


def read_manifest(blobs: ByteStore) -> Manifest:
    """The checked manifest of a store.

    Raises:
        StoreNotFoundError: there is none.
    """
    try:
        data = blobs.read_at_most(MANIFEST, MAX_MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise store_not_found(blobs) from error
    return Manifest.from_bytes(data, blobs.url)


def store_not_found(blobs: ByteStore) -> StoreNotFoundError:
    """The error of a place that holds no manifest: what it holds instead, and what to give in its place."""
    return StoreNotFoundError(f"{blobs.url}: expected a store; received no {MANIFEST}; {_what_to_give(blobs)}")


def _what_to_give(blobs: ByteStore) -> str:
    if blobs.exists("buckets.json"):
        return "it is a bucket set: name one of its stores"
    folder = blobs.local_path()
    if folder is not None:
        if is_archive(folder):
            return "it is a packed archive: unpack it to a store"
        if (folder.parent / MANIFEST).is_file():
            return f"it is in a store: give that store's folder, {folder.parent}"
        inner = [str(one) for one in store_locations(folder) if (Path(one) / MANIFEST).is_file()]
        if inner:
            more = f", … {len(inner) - _SHOWN} more" if len(inner) > _SHOWN else ""
            return f"it has stores in it: give {' or '.join(inner[:_SHOWN])}{more}"
    return "give the store's folder, such as fae-runs/latents/NAME-0123456789ab"


def is_archive(path: Path) -> bool:
    """Whether a folder, or a .zip of it, is a packed archive of a store; nothing in it is checked."""
    if path.is_dir():
        return (path / ARCHIVE).is_file()
    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as packed:
            return any(name.rpartition("/")[2] == ARCHIVE for name in packed.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
