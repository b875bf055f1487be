"""The stores in a folder or at a URL, by their names and in the order in which they were planned."""

import re
from collections.abc import Iterator

from stores.backends import ByteStore, Location, inside, open_bytestore
from stores.format import MANIFEST, MAX_MANIFEST_BYTES, Manifest, StoreError, StoreNotFoundError

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
        of_set = "; it is a bucket set: name one of its stores" if blobs.exists("buckets.json") else ""
        raise StoreNotFoundError(f"{blobs.url}: expected a store; received no {MANIFEST}{of_set}") from error
    return Manifest.from_bytes(data, blobs.url)
