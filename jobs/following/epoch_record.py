"""epochs.json: which rows each epoch saw of a training that followed a store while it was written."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from jobs.runs import EPOCHS_FILE, RunError
from stores.backends import replace_file
from stores.core import CommittedShards

SCHEMA_VERSION = 1
OWN_DIGEST = "record_sha256"
# Of more snapshots the first and the last are named.
MOST_NAMED = 6


@dataclass(frozen=True)
class EpochEntry:
    """A snapshot that holds from an epoch on, until the next one's, with its number of training rows."""

    first_epoch: int
    rows: int
    snapshot: CommittedShards

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"first_epoch": self.first_epoch, "training_rows": self.rows, **self.snapshot.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "EpochEntry":
        """What `to_json` gave; KeyError, TypeError or ValueError for something else."""
        return cls(int(data["first_epoch"]), int(data["training_rows"]), CommittedShards.from_json(data))


@dataclass
class EpochRecord:
    """The snapshots that the epochs of a run were made of.

    Attributes:
        path: the run's folder.
        store: fingerprint of the store that is followed.
        entries: by ascending first epoch.
    """

    path: Path
    store: str
    entries: list[EpochEntry] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, store: str) -> "EpochRecord":
        """The record in a run's folder; one without entries where there is none.

        Raises:
            RunError: it is damaged, or of another store.
        """
        file = path / EPOCHS_FILE
        if not file.exists():
            return cls(path, store)
        found = read_epochs(file)
        if found.store != store:
            raise RunError(f"{file}: expected the epochs of the store {store:.12}; received those of {found.store:.12}")
        return found

    def covering(self, epoch: int) -> EpochEntry | None:
        """What holds at an epoch, as far as is recorded."""
        return next((entry for entry in reversed(self.entries) if entry.first_epoch <= epoch), None)

    def binding(self, epoch: int) -> EpochEntry | None:
        """What an epoch must have, since a later record follows it; None: it may take a new snapshot."""
        return self.covering(epoch) if self.entries and epoch <= self.entries[-1].first_epoch else None

    def add(self, entry: EpochEntry, before_visible: Callable[[], object] | None = None) -> None:
        """Record what an epoch sees, on disk before it begins; a snapshot that has not changed adds nothing."""
        before = self.covering(entry.first_epoch)
        if before is not None and before.snapshot == entry.snapshot:
            return
        assert not self.entries or entry.first_epoch > self.entries[-1].first_epoch
        self.entries.append(entry)
        replace_file(self.path / EPOCHS_FILE, self.to_bytes(), before_visible)

    def to_bytes(self) -> bytes:
        """The file's content, with its own digest."""
        epochs = [entry.to_json() for entry in self.entries]
        record = {"schema_version": SCHEMA_VERSION, "store": self.store, "epochs": epochs}
        return json.dumps({**record, OWN_DIGEST: _digest(record)}, indent=1).encode()

    def summary(self, last_epoch: int, planned_rows: int, statistics: str) -> dict[str, Any]:
        """What run.json keeps: (first epoch, last, training rows) of each snapshot, rows in all, whose statistics."""
        rows = [list(span) for span in self._spans(last_epoch)]
        digest = hashlib.sha256(self.to_bytes()).hexdigest()
        return {"epochs": rows, "planned_rows": planned_rows, "statistics": statistics, "epochs_sha256": digest}

    def _spans(self, last_epoch: int) -> Iterator[tuple[int, int, int]]:
        begun = [entry for entry in self.entries if entry.first_epoch <= last_epoch]
        pasts = [entry.first_epoch for entry in begun[1:]] + [last_epoch + 1]
        for entry, past in zip(begun, pasts, strict=True):
            yield entry.first_epoch, past - 1, entry.rows


def read_epochs(file: Path) -> EpochRecord:
    """Parse a file of this schema version.

    Raises:
        RunError: it is damaged, or a newer version's.
    """
    try:
        record = json.loads(file.read_bytes())
        digest = record.pop(OWN_DIGEST)
        if record["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"expected schema version {SCHEMA_VERSION}; received {record['schema_version']}")
        if digest != _digest(record):
            raise ValueError("its digest does not fit")
        entries = [EpochEntry.from_json(one) for one in record["epochs"]]
        if any(earlier.first_epoch >= later.first_epoch for earlier, later in pairwise(entries)):
            raise ValueError("its epochs do not ascend")
        return EpochRecord(file.parent, str(record["store"]), entries)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RunError(
            f"{file}: expected the record of a following training; {error}; restore the file, or delete the folder and "
            "run the stage again"
        ) from error


def epochs_text(summary: dict[str, Any]) -> str:
    """`epoch 0: 1,024, epochs 1–3: 1,536, epochs 4–9: 2,000 of 2,000 training rows; …` of a `summary`."""
    planned, rows = summary["planned_rows"], summary["epochs"]
    most = rows[-1][2] if rows else 0
    rest = "" if most >= planned else f"; {planned - most:,} were not there when the last epoch began"
    return f"{_listed(rows)} of {planned:,} training rows{rest}; statistics of {summary['statistics']}"


def epochs_so_far(path: Path) -> str | None:
    """`epoch 0: 1,024, epochs 1–3: 1,536, epochs 4–: 2,000 training rows` of a run in training that follows a store."""
    if not (path / EPOCHS_FILE).exists():
        return None
    entries = read_epochs(path / EPOCHS_FILE).entries
    lasts = [entry.first_epoch - 1 for entry in entries[1:]] + [None]
    spans = [(entry.first_epoch, last, entry.rows) for entry, last in zip(entries, lasts, strict=True)]
    return f"{_listed(spans)} training rows"


def _listed(spans: Iterable[tuple[int, int | None, int]]) -> str:
    found = []
    for first, last, count in spans:
        epochs = f"epoch {first}" if first == last else f"epochs {first}–{'' if last is None else last}"
        found.append(f"{epochs}: {count:,}")
    if len(found) > MOST_NAMED:
        found = [*found[: MOST_NAMED // 2], "…", *found[-MOST_NAMED // 2 :]]
    return ", ".join(found)


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
