"""epochs.json: which rows each epoch saw of a training that followed a store while it was written."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from jobs.runs import EPOCHS_FILE, RunError
from stores.backends import replace_file
from stores.core import CommittedShards

# Version 2 has parts of epochs; a record without any is written as version 1.
SCHEMA_VERSION = 2
OWN_DIGEST = "record_sha256"
# Of more snapshots the first and the last are named.
MOST_NAMED = 6


@dataclass(frozen=True)
class EpochEntry:
    """A snapshot that holds from an epoch on, or within one from a step on, until the next entry's.

    Attributes:
        first_epoch: the epoch.
        rows: training rows of the snapshot.
        snapshot: the shards.
        first_step: of an epoch whose rows are encoded while it lasts: the step from which on it has the rows that came
            since the entry before; None: the epoch has all rows of the snapshot.
    """

    first_epoch: int
    rows: int
    snapshot: CommittedShards
    first_step: int | None = None

    @property
    def start(self) -> tuple[int, int]:
        """Epoch and step from which on it holds."""
        return self.first_epoch, self.first_step or 0

    @property
    def is_part(self) -> bool:
        """Whether it is a part of an epoch."""
        return self.first_step is not None

    def holds(self, epoch: int, step: int, batch_rows: int) -> bool:
        """Whether a step of an epoch is in this part; its last batch is the last one that its rows fill."""
        return epoch == self.first_epoch and step < self.rows // batch_rows

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        part = {"first_step": self.first_step} if self.is_part else {}
        return {"first_epoch": self.first_epoch, **part, "training_rows": self.rows, **self.snapshot.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "EpochEntry":
        """What `to_json` gave; KeyError, TypeError or ValueError for something else."""
        first_step = int(data["first_step"]) if "first_step" in data else None
        snapshot = CommittedShards.from_json(data)
        return cls(int(data["first_epoch"]), int(data["training_rows"]), snapshot, first_step)


@dataclass
class EpochRecord:
    """The snapshots that the epochs of a run were made of.

    Attributes:
        path: the run's folder.
        store: fingerprint of the store that is followed.
        entries: by ascending first epoch and step.
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

    def covering(self, epoch: int, step: int = 0) -> EpochEntry | None:
        """What holds at a step of an epoch, as far as is recorded."""
        return next((entry for entry in reversed(self.entries) if entry.start <= (epoch, step)), None)

    def binding(self, epoch: int, step: int, batch_rows: int) -> EpochEntry | None:
        """What a step must have: that of its epoch, or what a later record follows; None: a new snapshot is taken."""
        found = self.covering(epoch, step)
        if found is None:
            return None
        if found.is_part:
            return found if found.holds(epoch, step, batch_rows) else None
        return found if step or epoch <= self.entries[-1].first_epoch else None

    def up_to(self, entry: EpochEntry, most: int) -> list[EpochEntry]:
        """The last entries up to this one."""
        past = self.entries.index(entry) + 1
        return self.entries[max(0, past - most) : past]

    def add(self, entry: EpochEntry, before_visible: Callable[[], object] | None = None) -> None:
        """Record what an epoch sees, on disk before it begins; a snapshot that has not changed adds nothing."""
        before = self.covering(*entry.start)
        if before is not None and (before.snapshot, before.is_part) == (entry.snapshot, entry.is_part):
            return
        assert not self.entries or entry.start > self.entries[-1].start
        self.entries.append(entry)
        replace_file(self.path / EPOCHS_FILE, self.to_bytes(), before_visible)

    def to_bytes(self) -> bytes:
        """The file's content, with its own digest."""
        epochs = [entry.to_json() for entry in self.entries]
        version = SCHEMA_VERSION if any(entry.is_part for entry in self.entries) else 1
        record = {"schema_version": version, "store": self.store, "epochs": epochs}
        return json.dumps({**record, OWN_DIGEST: _digest(record)}, indent=1).encode()

    def summary(self, last_epoch: int, last_step: int, planned_rows: int, statistics: str) -> dict[str, Any]:
        """What run.json keeps: of each snapshot first and last epoch, training rows and parts; rows in all; statistics.

        `last_epoch`, `last_step`: the position of the last batch.
        """
        begun = [entry for entry in self.entries if entry.start <= (last_epoch, last_step)]
        rows = [[span for span in one if span is not None] for one in _spans(begun, last_epoch)]
        digest = hashlib.sha256(self.to_bytes()).hexdigest()
        return {"epochs": rows, "planned_rows": planned_rows, "statistics": statistics, "epochs_sha256": digest}


# First and last epoch (None: not known yet), training rows, and the number of parts (None: the epoch is whole).
Span = tuple[int, int | None, int, int | None]


def _spans(entries: Sequence[EpochEntry], last_epoch: int | None) -> list[Span]:
    """The epochs of each snapshot; those of the parts of an epoch together."""
    epochs = [list(parts) for _, parts in groupby(entries, key=lambda entry: entry.first_epoch)]
    lasts = [parts[0].first_epoch - 1 for parts in epochs[1:]] + [last_epoch]
    return [
        (parts[-1].first_epoch, last, parts[-1].rows, len(parts) if parts[-1].is_part else None)
        for parts, last in zip(epochs, lasts, strict=True)
    ]


def read_epochs(file: Path) -> EpochRecord:
    """Parse a file of this schema version.

    Raises:
        RunError: it is damaged, or a newer version's.
    """
    try:
        record = json.loads(file.read_bytes())
        digest = record.pop(OWN_DIGEST)
        if record["schema_version"] not in range(1, SCHEMA_VERSION + 1):
            raise ValueError(f"expected schema version 1 to {SCHEMA_VERSION}; received {record['schema_version']}")
        if digest != _digest(record):
            raise ValueError("its digest does not fit")
        entries = [EpochEntry.from_json(one) for one in record["epochs"]]
        if any(earlier.start >= later.start for earlier, later in pairwise(entries)):
            raise ValueError("its epochs do not ascend")
        return EpochRecord(file.parent, str(record["store"]), entries)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RunError(
            f"{file}: expected the record of a following training; {error}; restore the file, or delete the folder and "
            "run the stage again"
        ) from error


def epochs_text(summary: dict[str, Any]) -> str:
    """`epoch 0: 1,024, epochs 1–3: 1,536, epochs 4–9: 2,000 of 2,000 training rows; …` of a `summary`."""
    planned, spans = summary["planned_rows"], [_span(*one) for one in summary["epochs"]]
    _, _, most, parts = spans[-1] if spans else (0, 0, 0, None)
    why = "were not there when the last epoch began" if parts is None else "were not encoded when it ended"
    rest = "" if most >= planned else f"; {planned - most:,} {why}"
    return f"{_listed(spans)} of {planned:,} training rows{rest}; statistics of {summary['statistics']}"


def epochs_so_far(path: Path) -> str | None:
    """`epoch 0: 1,024, epochs 1–3: 1,536, epochs 4–: 2,000 training rows` of a run in training that follows a store."""
    if not (path / EPOCHS_FILE).exists():
        return None
    return f"{_listed(_spans(read_epochs(path / EPOCHS_FILE).entries, None))} training rows"


def _span(first: int, last: int | None, rows: int, parts: int | None = None) -> Span:
    return first, last, rows, parts


def _listed(spans: Iterable[Span]) -> str:
    found = []
    for first, last, count, parts in spans:
        one = parts is not None or first == last
        epochs = f"epoch {first}" if one else f"epochs {first}–{'' if last is None else last}"
        found.append(f"{epochs}: {count:,}{_parts_text(parts)}")
    if len(found) > MOST_NAMED:
        found = [*found[: MOST_NAMED // 2], "…", *found[-MOST_NAMED // 2 :]]
    return ", ".join(found)


def _parts_text(parts: int | None) -> str:
    return "" if parts is None else f" in {parts:,} part{'' if parts == 1 else 's'}"


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
