"""One rule for what a name, a prefix or a path means, used by every command that takes a store, run or samples."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from jobs.remote import fetch_record, fetch_records, fetch_samples
from jobs.runs import KINDS, RUN_FILE, RunError, RunFolder
from pipeline.config import MADE_BY, suggest
from stores.backends import Location, inside, is_url, name_of, open_bytestore, origin_of, path_of, url_of
from stores.core import is_archive, read_manifest, store_locations
from stores.format import COMPLETE, MANIFEST

SAMPLES_FILE = "samples.json"
KINDS_OF_ARTIFACTS = tuple(MADE_BY)
STORE_KINDS = tuple(kind for kind in MADE_BY if kind not in KINDS)
FOLDER = re.compile(r"(?P<name>.+)-[0-9a-f]{12}")


class ArtifactError(ValueError):
    """A name, prefix or path that means no artifact, or several."""


@dataclass(frozen=True)
class Entry:
    """An artifact `<root>/<kind>/<name>-<fingerprint12>`.

    `created_unix_seconds` is what its own record says, so that a copy, a repair or a new grid makes nothing newer.
    """

    created_unix_seconds: float
    path: Location
    name: str
    complete: bool


def resolve(root: Path, kind: str, text: str) -> Location:
    """Find the artifact that a person means by `text`.

    Args:
        root: Folder of all artifacts; one that stands for a URL has those there.
        kind: Folder below it: a key of `MADE_BY`.
        text: The path or URL of an artifact, which is taken as it is; a name, which means the newest complete artifact
            of this name; or the beginning of a folder's name that goes beyond the artifact's name; `KIND/` may stand
            before the latter two.

    Raises:
        ArtifactError: Nothing complete has this name, or several begin so.
    """
    if is_url(text) or is_artifact(Path(text)):
        return text if is_url(text) else Path(text)
    _refuse_archive(Path(text))
    text = text.removeprefix(f"{kind}/")
    entries = entries_named(root, kind, text)
    complete = [entry for entry in entries if entry.complete]
    if not complete:
        _refuse(root, kind, text, entries)
    if len({entry.name for entry in complete}) > 1 or (complete[-1].name != text and len(complete) > 1):
        several = ", ".join(name_of(entry.path) for entry in complete)
        raise ArtifactError(
            f"{text}: expected the beginning of one folder's name; received that of {several}; give one of these"
        )
    return complete[-1].path


def is_artifact(path: Path) -> bool:
    """Whether a store, a run or samples lie in this folder, finished or not."""
    return any((path / file).is_file() for file in (MANIFEST, RUN_FILE, SAMPLES_FILE))


def entries_named(root: Path, kind: str, text: str) -> list[Entry]:
    """The artifacts of a kind whose name is `text`, else those whose folder's name begins with it; the oldest first.

    Raises:
        StoreError, RunError: One of them has a record that cannot be read.
    """
    folders = [path for path in (root / kind).glob("*") if FOLDER.fullmatch(path.name) and is_artifact(path)]
    there = _at_url(root, kind, text)
    found = [*(path for path in folders if path.name not in {name_of(one) for one in there}), *there]
    named = [one for one in found if _name_of(one) == text]
    begun = [one for one in found if name_of(one).startswith(text) and len(text) > len(_name_of(one))]
    return sorted(
        (_entry(kind, one) for one in named or begun), key=lambda one: (one.created_unix_seconds, str(one.path))
    )


def _at_url(root: Path, kind: str, text: str) -> list[Location]:
    """What a URL has of a kind whose folder's name begins so, where the root stands for one.

    Stores are where they lie; of runs the record, of few samples all is fetched, and the paths are here.
    """
    url, found = url_of(root), list[Location]()
    for location in store_locations(inside(url, kind)) if url is not None else ():
        if name_of(location).startswith(text):
            if kind in KINDS:
                found += [path_of(location)] if fetch_record(path_of(location)) else []
            elif open_bytestore(location).exists(MANIFEST):
                found.append(location)
            elif fetch_samples(path_of(location), SAMPLES_FILE):
                found.append(path_of(location))
    return found


def runs_of(root: Path, kind: str) -> list[RunFolder]:
    """Every finished run of a kind, the oldest first; one whose record is damaged is none (`stores ls` shows it)."""
    runs = []
    fetch_records(root, kind)
    for file in (root / kind).glob(f"*/{RUN_FILE}"):
        with suppress(RunError):
            runs.append(RunFolder.open(file.parent))
    return sorted((run for run in runs if run.complete), key=lambda run: (run.record.created_unix_seconds, run.path))


def find_location(
    root: Location,
    text: str,
    kinds: Sequence[str] = KINDS_OF_ARTIFACTS,
    complete: bool = False,
    first: bool = False,
) -> Location:
    """Where the artifact of any of these kinds lies that a person means by `text`, in any state, damaged ones too.

    Args:
        root: Folder or URL of all artifacts; of a folder that stands for a URL that URL counts.
        text: A URL or a path, taken as it is; a name, which means the newest artifact of this name; the beginning of
            a folder's name; or one of the latter two after `KIND/`.
        kinds: Folders below the root.
        complete: Of several of one name a complete artifact goes before a newer one that is not.
        first: Of several kinds that have such an artifact the first of `kinds` is meant.

    Raises:
        ArtifactError: There is none, or several kinds have one.
    """
    if is_url(text) or is_artifact(Path(text)):
        return text if is_url(text) else Path(text)
    _refuse_archive(Path(text))
    root = origin_of(root)
    start, _, rest = text.partition("/")
    asked, name = ((start,), rest) if rest and start in kinds else (tuple(kinds), text)
    found = {kind: locations for kind in asked if (locations := _locations(root, kind, name))}
    if not found and (Path(text).is_dir() or _is_file_of_store(Path(text))):
        return Path(text)  # whose error, when it is opened, says which store to give
    several = [location for locations in found.values() for location in locations]
    (kind, locations), *others = found.items() or [("", [])]
    if (first or not others) and (len(locations) == 1 or (locations and _name_of(locations[0]) == name)):
        return locations[0] if len(locations) == 1 else max(locations, key=partial(_order, kind, complete))
    received = f"; received that of {', '.join(map(_short, several))}" if found else ""
    raise ArtifactError(
        f"{text}: expected the name, the path or the beginning of the folder's name of one of {', '.join(asked)} below "
        f"{root}{received}; {_advice(root, asked, name, found)}"
    )


def _advice(root: Location, kinds: Sequence[str], name: str, found: Mapping[str, Sequence[Location]]) -> str:
    """What to give in place of a name that means nothing, or several."""
    from stores.core import set_locations  # loads pyarrow

    sets = [one for one in set_locations(root) if name in (name_of(one), _name_of(one))]
    takes_runs = bool(set(kinds) & set(KINDS))  # and whole sets, as `verify` does
    if sets and not (takes_runs and len(found) > 1):
        return name_its_stores(sets[-1])
    if len(found) > 1:
        return f"say which by KIND/NAME: {' or '.join(f'{kind}/{name}' for kind in found)}"
    if found:
        return "give one of these"
    return near_names(root, kinds, name) or "`fae-pipe stores ls` lists them"


def name_its_stores(bucket_set: Location) -> str:
    """What to give in place of a bucket set where one store is meant."""
    from stores.core import read_set_record  # loads pyarrow

    stores = ", ".join(one["store"] for one in read_set_record(bucket_set)["buckets"])
    return f"it is a bucket set: name one of its stores, {stores}"


def stores_named(root: Path, kind: str, text: str) -> list[Location]:
    """Where stores or runs of a kind lie that a name, or the beginning of a folder's name beyond it, means."""
    file = RUN_FILE if kind in KINDS else MANIFEST
    found = (one for one in _locations(origin_of(root), kind, text) if len(text) >= len(_name_of(one)))
    return [one for one in found if open_bytestore(one).exists(file)]


def kinds_with_name(root: Path, name: str) -> list[str]:
    """The kinds of which a store or run has this name, in the pipeline's order; none of a path that is there."""
    return [kind for kind in KINDS_OF_ARTIFACTS if not Path(name).exists() and stores_named(root, kind, name)]


def _is_file_of_store(path: Path) -> bool:
    return path.is_file() and (path.parent / MANIFEST).is_file()


def _refuse_archive(path: Path) -> None:
    if is_archive(path):
        unzip, folder = ("unzip it and ", "FOLDER") if path.is_file() else ("", str(path))
        raise ArtifactError(
            f"{path}: expected a store; received a packed archive; {unzip}run `fae-pipe stores unpack {folder}`"
        )


def _locations(root: Location, kind: str, name: str) -> list[Location]:
    """The folder of this name, else those of the artifacts of this name, else those that begin so."""
    locations = list(store_locations(inside(root, kind))) if name else []
    rules: tuple[Callable[[Location], bool], ...] = (
        lambda location: name_of(location) == name,
        lambda location: _name_of(location) == name,
        lambda location: name_of(location).startswith(name),
    )
    return next((found for rule in rules if (found := [one for one in locations if rule(one)])), [])


def near_names(root: Location, kinds: Sequence[str], name: str) -> str:
    """`did you mean 'mine'?`, or nothing."""
    places = [*kinds, "buckets"] if set(kinds) & set(STORE_KINDS) else kinds
    return suggest(name, sorted({_name_of(one) for kind in places for one in store_locations(inside(root, kind))}))


def _order(kind: str, complete: bool, location: Location) -> tuple[bool, float]:
    """Of a run or few samples at a URL as their record says that is fetched."""
    if is_url(location) and not open_bytestore(location).exists(MANIFEST):
        fetched = fetch_record(path_of(location)) or fetch_samples(path_of(location), SAMPLES_FILE)
        location = path_of(location) if fetched else location
    entry = _entry(kind, location)
    return complete and entry.complete, entry.created_unix_seconds


def _short(location: Location) -> str:
    """KIND/FOLDER, which `find_location` takes."""
    return "/".join(str(location).rstrip("/").split("/")[-2:])


def _name_of(location: Location) -> str:
    return name_of(location)[:-13]


def _entry(kind: str, location: Location) -> Entry:
    name = _name_of(location)
    if kind in KINDS:
        run = RunFolder.open(Path(location))
        return Entry(run.record.created_unix_seconds, location, name, run.complete)
    blobs = open_bytestore(location)
    if is_url(location) or blobs.exists(MANIFEST):
        manifest = read_manifest(blobs)
        return Entry(manifest.created_unix_seconds, location, name, manifest.status == COMPLETE)
    file = Path(location) / SAMPLES_FILE  # written last
    created = json.loads(file.read_text()).get("created_unix_seconds", file.stat().st_mtime)
    return Entry(created, location, name, True)


def _refuse(root: Path, kind: str, text: str, entries: Sequence[Entry]) -> NoReturn:
    what = "store" if kind not in KINDS else "run"
    command = f"`fae-pipe {MADE_BY[kind]}`"
    if entries:
        raise ArtifactError(
            f"{root / kind}: expected a complete {what} named {text!r}; received unfinished ones only "
            f"({', '.join(name_of(entry.path) for entry in entries)}); give their {command} again"
        )
    near = near_names(origin_of(root), [kind], text)
    raise ArtifactError(
        f"{root / kind}: expected a complete {what} named {text!r}; received none; {near or f'run {command} first'}"
    )
