"""Which store a training is to follow that another process still writes."""

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.config import FollowConfig
from pipeline.artifacts.bucket_sets import is_bucket_set, set_folders
from pipeline.artifacts.lineage import find_store
from pipeline.artifacts.resolver import ArtifactError, find_location
from stores import StoreError
from stores.backends import Location, is_url

if TYPE_CHECKING:
    from jobs.following import FollowedStore


def find_followed(
    root: Location, kind: str, text: str, follow: FollowConfig, statistics_from: str | None
) -> "FollowedStore":
    """Open a store, finished or not, that a training is to follow, with the store whose statistics it is to take.

    Raises:
        ArtifactError: There is none, or a bucket set is meant, whose record is written last.
        StoreError: It is damaged or of another kind, or unfinished and nothing says whose statistics to take.
    """
    from jobs.following import follow_store

    source = None if statistics_from is None else find_store(root, kind, statistics_from)
    store = follow_store(_location(root, kind, text), follow, source)
    if store.kind != kind:
        raise StoreError(f"{text}: expected a store of {kind}; received one of {store.kind}")
    return store


def _location(root: Location, kind: str, text: str) -> Location:
    local = not (is_url(root) or is_url(text))
    found = Path(text) if local and is_bucket_set(Path(text)) else None
    try:
        if found is None:
            return find_location(root, text, (kind,))
    except (ArtifactError, StoreError):  # the advice of the first reads the set's record
        found = next(iter(set_folders(Path(root), kind, text) if local else []), None)
        if found is None:
            raise
    raise ArtifactError(
        f"--follow: expected one store of {kind}; received the bucket set {found}, which is complete once it is there; "
        "leave --follow out"
    )
