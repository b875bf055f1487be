"""Paths and URLs: the byte store behind a location, and locations inside it."""

from pathlib import Path

from stores.backends.bytestore import ByteStore
from stores.backends.local import LocalByteStore

Location = Path | str


def is_url(location: Location) -> bool:
    """Whether a location is a URL rather than a path of this machine."""
    return isinstance(location, str) and "://" in location


def open_bytestore(location: Location) -> ByteStore:
    """The byte store of a folder or of a URL (s3, gs, az, memory; http to read); nothing is looked up yet.

    Raises:
        ValueError: an unknown scheme, credentials in the URL, or obstore is not installed.
    """
    if not is_url(location):
        return LocalByteStore(location)
    from stores.backends.object_store import ObjectByteStore

    return ObjectByteStore(str(location))


def local_folder(blobs: ByteStore) -> Path:
    """The folder of a byte store on this machine.

    Raises:
        ValueError: it is at a URL.
    """
    path = blobs.local_path()
    if path is None:
        raise ValueError(f"{blobs.url}: expected a folder of this machine; this needs a local copy of the store")
    return path


def sibling(blobs: ByteStore, name: str) -> Location:
    """A folder next to a byte store's own."""
    folder = blobs.local_path()
    return folder.parent / name if folder is not None else f"{blobs.url.rpartition('/')[0]}/{name}"


def name_of(location: Location) -> str:
    """The last part of a path or URL."""
    return str(location).rstrip("/").rpartition("/")[2]


def parent_of(location: Location) -> Location:
    """The folder above a location."""
    return str(location).rstrip("/").rpartition("/")[0] if is_url(location) else Path(location).parent


def inside(location: Location, name: str) -> Location:
    """A folder below a location."""
    return f"{str(location).rstrip('/')}/{name}" if is_url(location) else Path(location) / name
