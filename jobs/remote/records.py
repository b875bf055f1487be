"""Small files beside artifacts of a root at a URL: evaluations, probes, decoded previews. Those at the URL count."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from jobs.remote.fetching import fetch_file
from stores.backends import ByteStore, is_temporary, make_folder, open_bytestore, path_of, replace_file, url_of
from stores.core import store_locations

SWAPS = 20


def fetch_beside(file: Path) -> None:
    """Fetch a file of an artifact, or of a folder in it, from the URL that the artifact's folder stands for, if any.

    One that is not at the URL stays as it is here.
    """
    place = _place(file)
    if place is not None:
        with suppress(FileNotFoundError):
            fetch_file(*place, file)


def fetch_all_beside(root: Path, name: str, kinds: Iterable[str]) -> None:
    """Fetch the file of this name of every artifact of these kinds that a root at a URL has."""
    url = url_of(root)
    for kind in kinds if url is not None else ():
        for location in store_locations(f"{url}/{kind}"):
            fetch_beside(path_of(location) / name)


def copy_beside(files: Iterable[Path]) -> None:
    """Copy files, and all files of folders, of an artifact to the URL that its folder stands for, if any."""
    for given in files:
        inner = sorted(given.rglob("*")) if given.is_dir() else [given]
        for file in (one for one in inner if one.is_file() and not is_temporary(one.name)):
            place = _place(file)
            if place is not None:
                place[0].write_file(place[1], file)


def rewrite_beside(file: Path, change: Callable[[], bytes]) -> None:
    """Write what `change` makes of a file; at a URL of the file there, so that nothing another host adds is lost.

    Raises:
        OSError: others wrote it again and again meanwhile.
    """
    make_folder(file.absolute().parent)
    place = _place(file)
    for _ in range(SWAPS):
        there = None if place is None else _read(*place)
        if there is not None:
            replace_file(file, there)
        new = change()
        if place is None or place[0].swap(place[1], there, new):
            replace_file(file, new)
            return
    raise OSError(f"{file}: expected to write it at its URL; others wrote it {SWAPS} times meanwhile; try again")


def _place(file: Path) -> tuple[ByteStore, str] | None:
    """The artifact's bytes at its URL and the file's key in them; None where its folder stands for no URL."""
    for folder in list(file.parents)[:2]:
        url = url_of(folder)
        if url is not None:
            return open_bytestore(url), file.relative_to(folder).as_posix()
    return None


def _read(blobs: ByteStore, key: str) -> bytes | None:
    try:
        return blobs.read(key)
    except FileNotFoundError:
        return None
