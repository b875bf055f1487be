"""Which bucket set a person means by a name or a path."""

from pathlib import Path

from pipeline.artifacts.resolver import FOLDER, ArtifactError
from stores import BucketSet, open_bucket_set
from stores.core import BUCKETS

FOLDER_OF_SETS = "buckets"


def is_bucket_set(path: Path) -> bool:
    """Whether a bucket set lies in this folder."""
    return (path / BUCKETS).is_file()


def find_bucket_set(root: Path, text: str) -> BucketSet:
    """The set at a path, or of a name or the beginning of a folder's name below the root; of several the newest.

    Raises:
        ArtifactError: there is none.
    """
    if is_bucket_set(Path(text)):
        return open_bucket_set(Path(text))
    text = text.removeprefix(f"{FOLDER_OF_SETS}/")
    sets = (root / FOLDER_OF_SETS).glob(f"*/{BUCKETS}")
    folders = [file.parent for file in sets if FOLDER.fullmatch(file.parent.name)]
    named = [path for path in folders if path.name[:-13] == text] or [
        path for path in folders if path.name.startswith(text)
    ]
    if not named:
        known = ", ".join(sorted({path.name[:-13] for path in folders})) or "none"
        raise ArtifactError(
            f"{root / FOLDER_OF_SETS}: expected a bucket set named {text!r}; received {known}; make one by `fae-pipe "
            "extract --buckets`"
        )
    return open_bucket_set(max(named, key=lambda path: (path / BUCKETS).stat().st_mtime_ns))
