"""Finding and removing what nothing refers to: old stores, and the unfinished files of interrupted writes."""

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stores.backends import (
    ByteStore,
    LocalByteStore,
    Location,
    fsync_directory,
    inside,
    is_temporary,
    is_url,
    name_of,
    open_bytestore,
    temporary_beside,
)
from stores.core import (
    BUCKETS,
    STALE_SECONDS,
    Lease,
    list_manifests,
    read_set_record,
    set_locations,
    store_locations,
)
from stores.format import (
    COMMITS,
    COMPLETE,
    DATA,
    INDEX,
    LEASE,
    MANIFEST,
    LeaseHeldError,
    Manifest,
    StoreError,
    fingerprint,
)

# The last part of a store's name while it is being deleted.
TRASH = "deleted"


@dataclass(frozen=True)
class Garbage:
    """Something that may go: a store or an unfinished file below the root, its size, and why it may go."""

    path: Location
    num_bytes: int
    why: str


@dataclass(frozen=True)
class _Found:
    location: Location
    kind_folder: str
    manifest: Manifest

    @property
    def blobs(self) -> ByteStore:
        return open_bytestore(self.location)


def gc(root: Location, references: Iterable[str] = (), dry_run: bool = True) -> list[Garbage]:
    """What may go below `root`, a folder or a URL; it is removed when `dry_run` is False.

    A store stays when it is the newest of its name (finished or not, each), when something names it, or when a store
    that stays was made from it. A bucket set stays by the first two rules with all its stores, or where they all stay
    anyway; at a URL each stays. `references` are the content ids, fingerprints and paths that others (trained models)
    name. Unfinished files of a folder go when they are older than a stale lease; object stores have none. A store that
    is being written, one whose manifest cannot be read, and anything outside the root or behind a link are never
    touched.
    """
    if is_url(root):
        garbage = _old_stores(root, references)
        return garbage if dry_run else [item for item in garbage if _remove_remote(item.path)]
    folder = Path(root).resolve()
    garbage = [*_old_stores(folder, references), *_never_begun(folder), *_temporaries(folder)]
    covered = {Path(item.path) for item in garbage}
    garbage = [item for item in garbage if not covered & set(Path(item.path).parents)]
    if dry_run:
        return garbage
    return [item for item in garbage if _remove(Path(item.path), folder)]


def folder_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    if not path.is_dir():
        return path.lstat().st_size
    return sum((Path(at) / name).lstat().st_size for at, _, names in os.walk(path) for name in names)


def location_bytes(location: Location) -> int:
    """Bytes of everything in a folder or at a URL."""
    return open_bytestore(location).num_bytes() if is_url(location) else folder_bytes(Path(location))


def _old_stores(root: Location, references: Iterable[str]) -> list[Garbage]:
    found = list(_stores(root))
    named, sets = {name_of(text) for text in references}, _sets(root)
    stay = [one for one in sets if is_url(root) or one.is_newest(sets) or one.names & named]
    of_sets = {name for one in stay for name in one.members}
    kept = {store.location for store in found if _is_newest(store, found) or _names_of(store) & (named | of_sets)}
    while True:
        named = {name for store in found if store.location in kept for name in _names_in(store.manifest)}
        more = {store.location for store in found if _names_of(store) & named} - kept
        if not more:
            break
        kept |= more
    garbage = [_as_garbage(store) for store in found if store.location not in kept and not Lease(store.blobs).is_held()]
    gone = {name_of(item.path) for item in garbage}
    why = "bucket set of stores that go, older than another one of its name"
    return garbage + [Garbage(one.path, location_bytes(one.path), why) for one in sets if one.members & gone]


@dataclass(frozen=True)
class _Set:
    """A bucket set: its folder, what others may call it, the folders' names of its stores, and when it was made."""

    path: Location
    kind: str
    name: str
    names: frozenset[str]
    members: frozenset[str]
    written_unix_seconds: float

    def is_newest(self, others: list["_Set"]) -> bool:
        """Whether no later set has its kind and name."""
        same = [one for one in others if (one.kind, one.name) == (self.kind, self.name)]
        return self is max(same, key=lambda one: (one.written_unix_seconds, str(one.path)))


def _sets(root: Location) -> list[_Set]:
    """The bucket sets below a root whose record can be read; object stores say not when one was written (0 here)."""
    found = []
    for path in set_locations(root):
        try:
            record = read_set_record(path)
        except (StoreError, OSError):
            continue
        references = [one["store"].split("/") for one in record["buckets"]]
        names = frozenset({name_of(path), fingerprint(record["ingredients"]), record["content_id"]})
        members = frozenset(name for _, name in references)
        written = 0.0 if is_url(path) else (Path(path) / BUCKETS).stat().st_mtime
        found.append(_Set(path, references[0][0], record["name"], names, members, written))
    return found


def _as_garbage(store: _Found) -> Garbage:
    state = "store" if store.manifest.status == COMPLETE else "unfinished store"
    why = f"{state} of {store.manifest.kind} that nothing was made from, older than another one of its name"
    return Garbage(store.location, location_bytes(store.location), why)


def _is_newest(store: _Found, found: list[_Found]) -> bool:
    """Whether no later store has its kind, name and status."""
    same = [
        other
        for other in found
        if (other.kind_folder, other.manifest.name, other.manifest.status)
        == (store.kind_folder, store.manifest.name, store.manifest.status)
    ]
    return store is max(same, key=lambda other: (other.manifest.created_unix_seconds, str(other.location)))


def _names_of(store: _Found) -> set[str]:
    """What others may call it."""
    names = {name_of(store.location), store.manifest.fingerprint}
    return names | {store.manifest.content_id} if store.manifest.content_id else names


def _names_in(manifest: Manifest) -> Iterator[str]:
    """Every text in the ingredients and attributes of a store; of paths the last part."""
    return (name_of(text) for text in texts_in([manifest.ingredients, manifest.attributes]))


def texts_in(value: Any) -> Iterator[str]:
    """Every text in nested JSON values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from texts_in(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


def _stores(root: Location) -> Iterator[_Found]:
    """Stores at `root/<kind>/<name>-<fingerprint12>` with a readable manifest."""
    for kind in open_bytestore(root).folders():
        for location, manifest in list_manifests(inside(root, kind)):
            if manifest is not None and (is_url(location) or _is_inside(Path(location), Path(root))):
                yield _Found(location, kind, manifest)


def _store_folders(root: Path) -> list[Path]:
    folders = [
        Path(location) for kind in open_bytestore(root).folders() for location in store_locations(inside(root, kind))
    ]
    return [path for path in folders if _is_inside(path, root)]


def _never_begun(root: Path) -> Iterator[Garbage]:
    """Folders whose planning was cut short: parts of a store, but no manifest and no commit record."""
    for path in _store_folders(root):
        planned = (path / INDEX).exists() or (path / DATA).exists()
        begun = any((path / one).exists() for one in (MANIFEST, BUCKETS)) or any((path / COMMITS).glob("*.json"))
        if planned and not begun and _is_old(path) and not _is_held(path):
            yield Garbage(path, folder_bytes(path), "a store whose planning was interrupted")


def _temporaries(root: Path) -> Iterator[Garbage]:
    for at, folders, names in os.walk(root):
        found = [Path(at) / name for name in [*folders, *names] if is_temporary(name)]
        folders[:] = [name for name in folders if not is_temporary(name)]
        for path in found:
            if path.is_symlink() or _is_in_use(path, root):
                continue
            if _is_trash(path):
                yield Garbage(path, folder_bytes(path), "left behind by an interrupted gc")
            elif _is_old(path):
                yield Garbage(path, folder_bytes(path), "left behind by an interrupted write")


def _trash_of(path: Path) -> Path:
    """The name under which a store waits to be deleted; nobody writes there, so that it may go at once."""
    return temporary_beside(path.with_name(f"{path.name}.{TRASH}"))


def _is_trash(path: Path) -> bool:
    return path.name.split(".")[-3:-2] == [TRASH]  # .NAME.deleted.HEX.tmp


def _is_in_use(path: Path, root: Path) -> bool:
    """Whether a store around it is being written."""
    return any(_is_held(parent) for parent in path.parents if parent != root and root in parent.parents)


def _is_held(path: Path) -> bool:
    return Lease(LocalByteStore(path)).is_held()


def _is_old(path: Path) -> bool:
    """Whether it was not touched for as long as a lease lives without a sign of its owner."""
    newest = max(entry.lstat().st_mtime for entry in [path, *(path.iterdir() if path.is_dir() else [])])
    return time.time() - newest > STALE_SECONDS


def _is_inside(path: Path, root: Path) -> bool:
    return path.resolve() == path and root in path.parents


def _remove(path: Path, root: Path) -> bool:
    """Remove it; False when it is in use by now."""
    assert _is_inside(path, root), path
    if not path.is_dir():
        path.unlink(missing_ok=True)
    elif is_temporary(path.name) or (path / BUCKETS).is_file():
        with suppress(FileNotFoundError):  # another gc found it
            shutil.rmtree(path)
    else:
        return _remove_store(path)
    return True


def _remove_store(path: Path) -> bool:
    """Out of sight first, in one rename under the lease, so that no half a store is ever found."""
    trash = _trash_of(path)
    try:
        with Lease(LocalByteStore(path)):
            path.rename(trash)
    except LeaseHeldError:
        return False
    path.rmdir()  # giving the lease back has made an empty folder
    fsync_directory(path.parent)
    with suppress(FileNotFoundError):  # another gc found it
        shutil.rmtree(trash)
    return True


def _remove_remote(location: Location) -> bool:
    """The manifest first, so that no half a store is ever found; False when it is in use by now."""
    blobs = open_bytestore(location)
    try:
        with Lease(blobs):
            for key in [MANIFEST, *(key for key in blobs.keys() if key not in (MANIFEST, LEASE))]:  # noqa: SIM118
                blobs.delete(key)
    except LeaseHeldError:
        return False
    return True
