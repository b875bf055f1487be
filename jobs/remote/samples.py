"""A few samples of a root at a URL: a folder of files that is copied there, and fetched from there, as a whole."""

from pathlib import Path

from jobs.remote.fetching import fetch_file, known_keys
from stores.backends import is_temporary, open_bytestore, path_of, url_of
from stores.core import store_locations


def fetch_samples(path: Path, record: str) -> bool:
    """Fetch a folder of samples whose file `record` is there; it comes last. Whether they are here now."""
    url = url_of(path)
    if url is None or (path / record).exists():
        return (path / record).exists()
    blobs = open_bytestore(url)
    keys = set(known_keys(blobs.keys(), url))
    if record not in keys:
        return False
    for key in [*sorted(keys - {record}), record]:
        fetch_file(blobs, key, path / key)
    return True


def fetch_all_samples(root: Path, record: str) -> None:
    """Fetch every folder of samples of a root that stands for a URL; stores of samples stay there."""
    url = url_of(root)
    for location in store_locations(f"{url}/samples") if url is not None else ():
        fetch_samples(path_of(location), record)


def copy_samples(path: Path, record: str) -> None:
    """Copy a folder of samples to the URL that it stands for, if any; the file `record` comes last."""
    url = url_of(path)
    if url is None:
        return
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and not is_temporary(file.name)]
    keys = known_keys((file.relative_to(path).as_posix() for file in files), path)
    blobs = open_bytestore(url)
    for key in [*(key for key in keys if key != record), record]:
        blobs.write_file(key, path / key)
