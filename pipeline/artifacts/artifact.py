"""What all results of stages have in common: where they lie, what decides them, how far they are, and what changed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from jobs.config import TrainConfig
from jobs.remote import fetch_beside, fetch_checkpoints, fetch_records, fetch_run, is_copied
from jobs.runs import RUN_FILE, RunFolder, find_extension, siblings
from stores import Store, StoreWriter, explain_difference, find_manifests, fingerprint
from stores.backends import Location, is_url, parent_of, url_of


class State(StrEnum):
    """How far an artifact is."""

    ABSENT = "absent"
    UNFINISHED = "unfinished"
    COMPLETE = "complete"


class Artifact(Protocol):
    """A result of a stage, whether or not it was made.

    The fingerprint of its ingredients is in its folder's name or in its record: changed ingredients mean another
    artifact. So a stage is up to date exactly when its artifact is complete.
    """

    @property
    def path(self) -> Location:
        """Where it lies, or will lie."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides its content."""

    @property
    def state(self) -> State:
        """Whether it was begun and finished."""

    def changes(self) -> list[str]:
        """How its ingredients differ from the newest artifact of its name; empty when it was begun or is the first."""


@dataclass(frozen=True)
class StoreArtifact:
    """A store of features, latents or text."""

    writer: StoreWriter

    @property
    def path(self) -> Location:
        """The store's folder or URL."""
        return self.writer.url if is_url(self.writer.url) else self.writer.path

    @property
    def fingerprint(self) -> str:
        """Digest of the manifest's ingredients."""
        return self.writer.manifest.fingerprint

    @property
    def state(self) -> State:
        """Complete once the manifest says so, which is written last."""
        if self.writer.complete:
            return State.COMPLETE
        return State.UNFINISHED if self.writer.begun else State.ABSENT

    def open(self) -> Store:
        """The complete store."""
        return self.writer.finalize()

    def changes(self) -> list[str]:
        """Differences from the newest store of this name."""
        manifest = self.writer.manifest
        others = find_manifests(parent_of(self.path), manifest.name) if self.state is State.ABSENT else []
        return explain_difference(others[-1][1].ingredients, manifest.ingredients) if others else []


@dataclass(frozen=True)
class RunArtifact:
    """A trained model: `<root>/<kind>/<name>-<fingerprint12>/`.

    Of a root that stands for a URL it is complete once it is there, too.
    """

    root: Path
    kind: str
    name: str
    ingredients: dict[str, Any]

    @property
    def path(self) -> Path:
        """The run's folder."""
        return RunFolder.locate(self.root, self.kind, self.name, self.ingredients)

    @property
    def fingerprint(self) -> str:
        """Digest of what decides the weights."""
        return fingerprint(self.ingredients)

    @property
    def state(self) -> State:
        """Complete once run.json says so and the weights are there."""
        copied = is_copied(self.path)
        if not (self.path / RUN_FILE).exists():
            return State.ABSENT
        return State.COMPLETE if copied and RunFolder.open(self.path).complete else State.UNFINISHED

    def open(self) -> RunFolder:
        """The run's folder and record; of one at a URL its model is fetched.

        Raises:
            RunError: It was not begun, or its record cannot be read.
        """
        return fetch_run(self.path)

    def fetch(self, config: TrainConfig) -> None:
        """Fetch from a URL what the run goes on from: its newest checkpoint, or that of a shorter one."""
        if url_of(self.root) is None:
            return
        fetch_records(self.root, self.kind, self.name)
        if self.state is State.ABSENT:
            shorter = find_extension(self.root, self.kind, self.name, self.ingredients, config)
            if shorter is not None:
                fetch_checkpoints(shorter.run.path)
        elif self.state is State.UNFINISHED:
            fetch_checkpoints(self.path)

    def changes(self) -> list[str]:
        """Differences from the newest run of this name."""
        others = [] if self.path.exists() else siblings(self.root, self.kind, self.name)
        newest = max(others, key=lambda run: run.record.created_unix_seconds, default=None)
        return explain_difference(newest.record.ingredients, self.ingredients) if newest else []


@dataclass(frozen=True)
class RecordArtifact:
    """Measurements whose JSON record is written last and holds the fingerprint of its ingredients.

    The file holds one record, or several under `evaluations`; `figures` of a record are files beside it.
    """

    file: Path
    ingredients: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """The folder of the record."""
        return self.file.parent

    @property
    def fingerprint(self) -> str:
        """Digest of what decides the measurements."""
        return fingerprint(self.ingredients)

    @property
    def state(self) -> State:
        """Complete once the record and its figures are there."""
        return State.ABSENT if self.record() is None else State.COMPLETE

    def record(self) -> dict[str, Any] | None:
        """The record of these ingredients, None where there is none or one of its figures is missing.

        Raises:
            ValueError: The file is not one that was written here.
        """
        for record in read_records(self.file):
            if record.get("fingerprint") == self.fingerprint:
                return record if self._has_figures(record.get("figures", ())) else None
        return None

    def _has_figures(self, names: Sequence[str]) -> bool:
        """Whether the figures are here; those that are not are looked for at the URL."""
        for name in names:
            if not (self.path / name).exists():
                fetch_beside(self.path / name)
        return all((self.path / name).exists() for name in names)

    def changes(self) -> list[str]:
        """Differences from the last record of the file."""
        records = read_records(self.file)
        return explain_difference(records[-1]["ingredients"], self.ingredients) if records else []


def read_records(file: Path) -> list[dict[str, Any]]:
    """The records in a JSON file, oldest first; none where there is no such file. Of a root at a URL those there count.

    Raises:
        ValueError: The file is not one that was written here.
    """
    fetch_beside(file)
    return local_records(file)


def local_records(file: Path) -> list[dict[str, Any]]:
    """`read_records` of a file that is as it is here: of no root at a URL, or fetched just now."""
    try:
        content = json.loads(file.read_text())
        if "made_of" in content:  # the demo's, before it held its ingredients
            return []
        records: list[dict[str, Any]] = content.get("evaluations", [content])
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: expected records that fae-pipe wrote; {error}; delete the file") from error
    if not all(isinstance(record, dict) and {"fingerprint", "ingredients"} <= record.keys() for record in records):
        raise ValueError(f"{file}: expected records that fae-pipe wrote; received others; delete the file")
    return records
