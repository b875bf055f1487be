"""Read every byte of a run and compare it with the digests in its record and in the states of its checkpoints."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jobs.runs.checkpoint_listing import (
    OWN_DIGEST,
    STATE,
    DamagedCheckpointError,
    checkpoint_files,
    checkpoints,
    damage_of,
    read_state,
    state_text,
)
from jobs.runs.run_folder import RunFolder
from jobs.runs.run_record import COMPLETE, EPOCHS_FILE, METRICS_FILE, RUN_FILE, SCHEMA_VERSION, RunError
from jobs.runs.run_record import OWN_DIGEST as RECORD_DIGEST
from stores import fingerprint

SAME_VALUES = "expected the bytes that were written; received others with the same values"
# A file, its digest where one was recorded, and what is wrong with it.
Finding = tuple[Path, str | None, str | None]


@dataclass
class RunReport:
    """What `verify_run` found: damaged files with what is wrong, and files that no digest was recorded for."""

    path: Path | str
    complete: bool = False
    files: int = 0
    num_bytes: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    without_digest: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every file is what was written."""
        return not self.problems


def verify_run(path: Path) -> RunReport:
    """Read the record, the finished model, the metrics, the rows of its epochs and the complete checkpoints of a run.

    Files beside these (TensorBoard's, previews, evaluations) are not looked at. Nothing is changed.

    Raises:
        RunError: there is no run.
    """
    report = RunReport(path)
    try:
        run = RunFolder.open(path)
    except RunError as error:
        if not (path / RUN_FILE).exists():
            raise
        report.problems[RUN_FILE] = str(error)
        return report
    report.complete = run.record.status == COMPLETE
    for file, digest, problem in (*_record(run), *_model(run), *_logs(run), *_checkpoints(run)):
        name = file.relative_to(path).as_posix()
        report.files += 1
        report.num_bytes += file.stat().st_size if file.is_file() else 0
        if problem is not None:
            report.problems[name] = problem
        elif digest is None:
            report.without_digest.append(name)
    return report


def _record(run: RunFolder) -> Iterator[Finding]:
    file, record = run.path / RUN_FILE, run.record
    data = file.read_bytes()
    problem = None
    if record.fingerprint != fingerprint(record.ingredients) or not run.path.name.endswith(record.fingerprint[:12]):
        problem = f"expected the fingerprint {fingerprint(record.ingredients):.12}…, also as the folder's name ends"
        problem += f"; received {record.fingerprint:.12}…"
    current = b'"schema_version": %d' % SCHEMA_VERSION in data
    # Not by way of RunRecord, which has fields that records of earlier releases lack.
    if current and (json.dumps(found := json.loads(data), indent=1).encode() != data or RECORD_DIGEST not in found):
        problem = SAME_VALUES
    yield file, record.fingerprint if current else None, problem


def _model(run: RunFolder) -> Iterator[Finding]:
    if run.record.status != COMPLETE:
        return
    weights = {} if run.record.weights_sha256 is None else {run.weights_path.name: run.record.weights_sha256}
    digests = weights | run.record.files_sha256
    present = {file.name for file in run.model_path.glob("*") if file.is_file()}
    for name in sorted(present | digests.keys()):
        digest = digests.get(name)
        yield run.model_path / name, digest, damage_of(run.model_path / name, digest)


def _logs(run: RunFolder) -> Iterator[Finding]:
    """The metrics, and the rows of the epochs of a training that followed a store."""
    digests = {METRICS_FILE: run.record.metrics_sha256, EPOCHS_FILE: run.record.followed.get("epochs_sha256")}
    for name, digest in digests.items():
        if digest is not None or (run.path / name).exists():
            yield run.path / name, digest, damage_of(run.path / name, digest)


def _checkpoints(run: RunFolder) -> Iterator[Finding]:
    for checkpoint in checkpoints(run.path / "checkpoints"):
        state = checkpoint / STATE
        try:
            files, text = checkpoint_files(checkpoint), state_text(read_state(checkpoint))
        except DamagedCheckpointError as error:
            yield state, None, str(error)
            continue
        received = state.read_text()
        has_digest = OWN_DIGEST in received
        yield state, OWN_DIGEST if has_digest else None, SAME_VALUES if has_digest and text != received else None
        for file, digest in files:
            yield file, digest, damage_of(file, digest)
