"""One rule for what a name, a prefix or a path means, used by every command that takes a store, run or samples."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from jobs.runs import KINDS, RUN_FILE, RunFolder
from pipeline.config import MADE_BY
from stores.backends import open_bytestore
from stores.core import read_manifest
from stores.format import COMPLETE, MANIFEST

SAMPLES_FILE = "samples.json"
FOLDER = re.compile(r"(?P<name>.+)-[0-9a-f]{12}")


class ArtifactError(ValueError):
    """A name, prefix or path that means no artifact, or several."""


@dataclass(frozen=True, order=True)
class Entry:
    """An artifact `<root>/<kind>/<name>-<fingerprint12>`; entries are ordered by age, the oldest first.

    `created_unix_seconds` is what its own record says, so that a copy, a repair or a new grid makes nothing newer.
    """

    created_unix_seconds: float
    path: Path
    name: str
    complete: bool


def resolve(root: Path, kind: str, text: str) -> Path:
    """Find the artifact that a person means by `text`.

    Args:
        root: Folder of all artifacts.
        kind: Folder below it: a key of `MADE_BY`.
        text: The path of an artifact, which is taken as it is; a name, which means the newest complete artifact of
            this name; or the beginning of a folder's name that goes beyond the artifact's name.

    Raises:
        ArtifactError: Nothing complete has this name, or several begin so.
    """
    if is_artifact(Path(text)):
        return Path(text)
    entries = entries_named(root, kind, text)
    complete = [entry for entry in entries if entry.complete]
    if not complete:
        _refuse(root, kind, text, entries)
    if len({entry.name for entry in complete}) > 1 or (complete[-1].name != text and len(complete) > 1):
        several = ", ".join(entry.path.name for entry in complete)
        raise ArtifactError(f"{text}: expected the beginning of one folder's name; received that of {several}")
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
    named = [path for path in folders if _name(path) == text]
    begun = [path for path in folders if path.name.startswith(text) and len(text) > len(_name(path))]
    return sorted(_entry(kind, path) for path in named or begun)


def runs_of(root: Path, kind: str) -> list[RunFolder]:
    """Every finished run of a kind, the oldest first."""
    runs = [RunFolder.open(file.parent) for file in (root / kind).glob(f"*/{RUN_FILE}")]
    return sorted((run for run in runs if run.complete), key=lambda run: (run.record.created_unix_seconds, run.path))


def find_folder(name: str, root: Path) -> Path:
    """The folder of a store or run in any state: a path, a folder's name below `root`, or the beginning of one.

    Raises:
        ArtifactError: There is none, or there are several.
    """
    if is_artifact(Path(name)):
        return Path(name)
    folders = sorted(path for kind in MADE_BY for path in (root / kind).glob("*") if is_artifact(path))
    exact = [path for path in folders if path.name == name]
    found = exact or [path for path in folders if name and path.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    several = f"; received the beginning of {', '.join(map(str, found))}" if found else ""
    raise ArtifactError(
        f"{name}: expected the folder of a store or a run, or its name below {root}{several}; "
        "`fae-pipe stores ls` lists them"
    )


def _entry(kind: str, path: Path) -> Entry:
    if kind in KINDS:
        run = RunFolder.open(path)
        return Entry(run.record.created_unix_seconds, path, _name(path), run.complete)
    if (path / MANIFEST).is_file():
        manifest = read_manifest(open_bytestore(path))
        return Entry(manifest.created_unix_seconds, path, _name(path), manifest.status == COMPLETE)
    file = path / SAMPLES_FILE  # written last
    created = json.loads(file.read_text()).get("created_unix_seconds", file.stat().st_mtime)
    return Entry(created, path, _name(path), True)


def _name(path: Path) -> str:
    """The artifact's name, without the fingerprint."""
    return path.name[:-13]


def _refuse(root: Path, kind: str, text: str, entries: Sequence[Entry]) -> NoReturn:
    what = "store" if kind not in KINDS else "run"
    command = f"`fae-pipe {MADE_BY[kind]}`"
    if entries:
        raise ArtifactError(
            f"{root / kind}: expected a complete {what} named {text!r}; received unfinished ones only "
            f"({', '.join(entry.path.name for entry in entries)}); give their {command} again"
        )
    raise ArtifactError(f"{root / kind}: expected a complete {what} named {text!r}; received none; run {command} first")
