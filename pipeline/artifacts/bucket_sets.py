"""Bucket sets as artifacts: which one a name or a path means, and how far one is that a stage makes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jobs.config import Size, height_width
from jobs.runs import RunFolder
from pipeline.artifacts.artifact import State, StoreArtifact
from pipeline.artifacts.lineage import find_store
from pipeline.artifacts.resolver import FOLDER, ArtifactError, entries_named, is_artifact
from stores import (
    AnyStore,
    BucketSet,
    Store,
    StoreError,
    StoreWriter,
    explain_difference,
    fingerprint,
    open_bucket_set,
)
from stores.backends import Location, inside, is_url, name_of, open_bytestore
from stores.core import (
    BUCKETS,
    bucket_set_ingredients,
    member_locations,
    member_stores,
    open_any,
    read_manifest,
    reference_store,
    set_locations,
    store_locations,
)

FOLDER_OF_SETS = "buckets"
LocationT = TypeVar("LocationT", Path, str)


@dataclass(frozen=True)
class BucketSetArtifact:
    """A bucket set whose stores these writers fill, by size."""

    path: Location
    rule: str
    writers: Mapping[str, StoreWriter]

    @property
    def ingredients(self) -> dict[str, Any]:
        """All that decides the stores."""
        prints = {size: writer.manifest.fingerprint for size, writer in self.writers.items()}
        return bucket_set_ingredients(self.rule, prints)

    @property
    def fingerprint(self) -> str:
        """Digest of the rule and of the stores' fingerprints."""
        return fingerprint(self.ingredients)

    @property
    def state(self) -> State:
        """Complete once the record is there, which is written last, and so are the stores."""
        if open_bytestore(self.path).exists(BUCKETS) and all(writer.complete for writer in self.writers.values()):
            return State.COMPLETE
        begun = any(writer.begun for writer in self.writers.values())
        return State.UNFINISHED if begun else State.ABSENT

    def open(self) -> BucketSet:
        """The complete set."""
        return open_bucket_set(self.path)

    def changes(self) -> list[str]:
        """Differences of the stores that are not there from the newest ones of their names."""
        found = {size: StoreArtifact(writer).changes() for size, writer in self.writers.items()}
        return [f"{size}: {line}" for size, lines in found.items() for line in lines]


def is_bucket_set(path: Path) -> bool:
    """Whether a bucket set lies in this folder."""
    return (path / BUCKETS).is_file()


def find_data(root: Location, kind: str, text: str) -> AnyStore:
    """Open the complete store of a kind, or the bucket set of such stores, that a name, prefix or path means.

    The rule is that of `resolve`: a name goes before the beginning of a folder's name, which goes beyond the name. Of
    a store and a set of one name the newer one is meant.

    Raises:
        ArtifactError: There is none, and the message names the command that makes one; or several begin so.
        StoreError: It is unfinished, damaged or of another kind.
    """
    at_url = is_url(root) or is_url(text)
    found = set_at_url(root, text, kind) if at_url else set_meant(root, kind, text)
    return find_store(root, kind, text) if found is None else _checked(open_bucket_set(found), kind)


def set_meant(root: Location, kind: str, text: str) -> Path | None:
    """The folder of the bucket set that a name, prefix or path means, as of `find_data`; None where a store is meant.

    Raises:
        ArtifactError: it is the beginning of several folders' names.
    """
    if is_url(root) or is_url(text):
        return None
    if is_bucket_set(Path(text)):
        return Path(text)
    folders = [] if is_artifact(Path(text)) else set_folders(Path(root), kind, text)
    if not folders or _is_store(Path(root), kind, text, folders[-1]):
        return None
    return newest_set(folders, text)


def _is_store(root: Path, kind: str, text: str, newest: Path) -> bool:
    """Whether a text that means this set means a store rather: the name of a newer one, or only that of a store.

    Raises:
        ArtifactError: the text is the beginning of the set's folder and of a store's.
    """
    if text.startswith(f"{FOLDER_OF_SETS}/"):
        return False
    entries = entries_named(root, kind, text.removeprefix(f"{kind}/"))
    has_name = bool(entries) and entries[0].name == text
    if newest.name[:-13] == text:
        complete = [one for one in entries if has_name and one.complete]
        return bool(complete) and complete[-1].created_unix_seconds > created_of_set(newest)
    if entries and not has_name:
        several = ", ".join("/".join(str(one).split("/")[-2:]) for one in (newest, entries[-1].path))
        raise ArtifactError(f"{text}: expected the beginning of one folder's name; received that of {several}")
    return has_name


def set_at_url(root: Location, text: str, kind: str | None = None) -> str | None:
    """The set at this URL, or one below a root at a URL that `text` means; None where there is none.

    Args:
        root: Folder or URL of all artifacts.
        text: URL, name or the beginning of a folder's name beyond the name, `buckets/` before it or not.
        kind: Of the set's stores; a store of this kind goes before a set of its exact name.
    """
    if is_url(text):
        return text if open_bytestore(text).exists(BUCKETS) else None
    if not is_url(root) or is_artifact(Path(text)):
        return None
    name = text.removeprefix(f"{FOLDER_OF_SETS}/")
    if name == text and kind is not None and any(store_locations(inside(root, kind), text)):
        return None
    # The names first: records and manifests are requests.
    found = [*map(str, set_locations(root))]
    found = [one for one in found if _is_named(one, name) or _begins_with(one, name)]
    found = [one for one in found if kind is None or kind_of_set(one) in (kind, None)]
    newest_last = sorted(_called(found, name), key=created_of_set)
    return newest_last[-1] if newest_last else None


def _called(sets: Sequence[LocationT], name: str) -> list[LocationT]:
    """The sets of this name, else those whose folder's name begins so beyond its name; in their order."""
    named = [one for one in sets if _is_named(one, name)]
    return named or [one for one in sets if _begins_with(one, name)]


def _is_named(location: Location, name: str) -> bool:
    return name_of(location)[:-13] == name


def _begins_with(location: Location, name: str) -> bool:
    folder = name_of(location)
    return folder.startswith(name) and len(name) >= len(folder) - 12


def set_named(root: Location, kind: str | None, name: str) -> Location | None:
    """The newest set of a name, or of the beginning of a folder's name, below a root; None where there is none.

    Raises:
        ArtifactError: the folders of several names begin so.
    """
    if is_url(root):
        return set_at_url(root, name, kind)
    folders = set_folders(Path(root), kind, name)
    return newest_set(folders, name) if folders else None


def one_store(data: AnyStore, size: Size | None = None) -> Store:
    """The store itself; of a bucket set the one for images of this size, by default that of most rows.

    Raises:
        ArtifactError: the set has no images of this size.
    """
    if size is None or not isinstance(data, BucketSet):
        return reference_store(data)
    found = {height_width(name): store for name, store in data.stores.items()}.get(height_width(size))
    if found is None:
        raise ArtifactError(
            f"{data.url}: expected a bucket set with images of {size} pixels; received one of "
            f"{', '.join(data.stores)}; make samples of one of these (sample --size), or compare with files, which are "
            "cropped"
        )
    return found


def features_for(root: Path, run: RunFolder, features: str | None = None) -> Store:
    """The features that an autoencoder or decoder rebuilds: those that it was trained on, or others of its encoder.

    Of a bucket set the store of most rows.

    Raises:
        ValueError: features of another encoder.
    """
    own = run.input("features")
    if features is None:
        return one_store(open_any(own))
    store = one_store(find_data(root, "features", features))
    try:
        trained = open_any(own)
    except StoreError:
        return store  # nothing to compare with; the decoder refuses features of another shape
    encoder = store.manifest.ingredients["encoder"]
    if any(one.manifest.ingredients["encoder"] == encoder for one in member_stores(trained)):
        return store
    lines = explain_difference(one_store(trained).manifest.ingredients["encoder"], encoder)
    if lines:
        raise ValueError(
            f"--features {features}: expected features of the encoder that {run.path} was trained on; they differ: "
            f"{'; '.join(lines)}"
        )
    return store


def set_folders(root: Path, kind: str | None = None, text: str | None = None) -> list[Path]:
    """Folders of the sets of this name, else those whose folder's name begins so beyond its name; the oldest first.

    Without a text those of all sets. Sets whose record cannot be read count for any kind: who opens them says what is
    wrong.
    """
    files = (root / FOLDER_OF_SETS).glob(f"*/{BUCKETS}")
    folders = [file.parent for file in files if FOLDER.fullmatch(file.parent.name)]
    folders = [path for path in folders if kind is None or kind_of_set(path) in (kind, None)]
    folders.sort(key=created_of_set)
    if text is None:
        return folders
    name = text.removeprefix(f"{FOLDER_OF_SETS}/")
    return _called(folders, name)


def sets_with(root: Path, store: Store) -> list[BucketSet]:
    """The bucket sets below a root that a store is of, the newest first; those that cannot be read are left out."""
    found = []
    for folder in reversed(set_folders(root, store.kind)):
        try:
            one = open_bucket_set(folder)
        except StoreError:
            continue
        found += [one] if store.content_id in {member.content_id for member in one.members} else []
    return found


def newest_set(folders: Sequence[Path], text: str) -> Path:
    """Of the folders that `set_folders` found for a text the newest of that name.

    Raises:
        ArtifactError: the text is no name, and several folders begin so.
    """
    if len(folders) > 1 and folders[-1].name[:-13] != text.removeprefix(f"{FOLDER_OF_SETS}/"):
        several = ", ".join(path.name for path in folders)
        raise ArtifactError(f"{text}: expected the beginning of one folder's name; received that of {several}")
    return folders[-1]


def kind_of_set(location: Location) -> str | None:
    """The kind of a set's stores by its record alone; None where that cannot be read."""
    try:
        return str(_record(location)["buckets"][0]["store"]).split("/")[0]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def created_of_set(location: Location) -> float:
    """When the newest of a set's stores was begun; 0 where one cannot be read."""
    try:
        members = member_locations(location, _record(location)).values()
        return max(read_manifest(open_bytestore(one)).created_unix_seconds for one in members)
    except (OSError, ValueError, KeyError, TypeError, StoreError):
        return 0.0


def _record(location: Location) -> Any:
    """A set's record as it is written, unchecked."""
    return json.loads(open_bytestore(location).read(BUCKETS))


def _checked(found: BucketSet, kind: str) -> BucketSet:
    if found.kind != kind:
        raise StoreError(f"{found.url}: expected a bucket set of {kind}; received one of {found.kind}")
    return found
