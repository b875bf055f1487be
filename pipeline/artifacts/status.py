"""How far a store or a run is, who works on it and how fast, read from its folder by another process."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jobs.following import epochs_so_far, epochs_text
from jobs.remote import copied_so_far, fetch_record, fetch_records, fetch_samples
from jobs.runs import KINDS, RunError, RunFolder, newest_step
from pipeline.artifacts.bucket_sets import is_bucket_set, newest_set, set_folders
from pipeline.artifacts.hosts import hosts_of_run, hosts_of_store, hosts_text
from pipeline.artifacts.resolver import SAMPLES_FILE, STORE_KINDS, find_location, kinds_with_name
from pipeline.console import (
    FAILED,
    RUNNING,
    STOPPED,
    format_facts,
    format_number,
    format_seconds,
    format_shares,
    read_status_file,
)
from stores.backends import Location, inside, name_of, open_bytestore, origin_of, parent_of, path_of
from stores.core import list_manifests, member_locations, read_manifest, read_set_record, store_locations
from stores.format import MANIFEST, StoreError
from stores.write import StoreWriter

COMPLETE, STALE, DAMAGED = "complete", "stale", "damaged"
MEANINGS = {
    COMPLETE: "complete",
    RUNNING: "running",
    STALE: "stale: the process that made it is gone; the same command goes on",
    FAILED: "failed; the same command goes on",
    STOPPED: "stopped; the same command goes on",
    DAMAGED: "damaged; fae-pipe verify says where",
}


@dataclass(frozen=True)
class Status:
    """`holder` has host, process, heartbeat_seconds_ago and alive; rates are the driver's own, None without one."""

    path: str
    kind: str
    state: str
    done: int
    total: int
    unit: str
    shards_done: int | None = None
    shards: int | None = None
    stage: str | None = None
    per_second: float | None = None
    per_second_now: float | None = None
    seconds_left: float | None = None
    holder: dict[str, Any] | None = None
    last_error: str | None = None
    facts: dict[str, Any] | None = None
    hosts: list[dict[str, Any]] | None = None
    """The hosts that made it, once it is complete and where they were several."""
    epochs: str | None = None
    """Which rows the epochs of a training saw that followed a store."""

    def as_record(self) -> dict[str, Any]:
        """The status as JSON values."""
        return asdict(self)

    def as_rows(self) -> list[dict[str, str]]:
        """The lines of a table for people."""
        rows = {"what": self.kind, "where": self.path, "state": MEANINGS[self.state]}
        rows["done"] = f"{self.done:,}/{self.total:,} {self.unit}"
        if self.shards is not None:
            rows["done"] += f", {self.shards_done:,}/{self.shards:,} shards"
        if self.per_second is not None and self.per_second_now is not None:
            rows[f"{self.unit}/s"] = (
                f"now {format_number(self.per_second_now)}, average {format_number(self.per_second)}"
            )
        if self.seconds_left is not None:
            rows["time left"] = format_seconds(self.seconds_left)
        if self.holder is not None:
            rows["holder"] = _holder_text(self.holder)
        for name, value in (self.facts or {}).items():
            if isinstance(value, Mapping):
                rows[name.replace("_", " ")] = format_shares(value)
        rest = {name: value for name, value in (self.facts or {}).items() if name not in ("shards_done", "shards")}
        rows["facts"] = "  ".join(format_facts(rest))
        rows["hosts"] = hosts_text(self.hosts or [])
        rows["epochs"] = self.epochs or ""
        rows["last error"] = self.last_error or ""
        return [{"status": name, "value": text} for name, text in rows.items() if text]


def status_of(name: str, root: Path) -> Status:
    """The status of a store (a folder or URL) or of a run; `name` may be the folder's name below `root`.

    Raises:
        StoreError, RunError: what lies there is damaged.
        ValueError: there is neither a store nor a run.
    """
    if is_bucket_set(Path(name)):
        return _set_status(Path(name))
    if not kinds_with_name(root, name):
        if growing := _growing_set(root, name):
            return growing
        if folders := set_folders(root, text=name):
            return _set_status(newest_set(folders, name))
    location = find_location(root, name)
    if open_bytestore(location).exists(MANIFEST):
        return _store_status(location)
    fetch_record(path_of(location))
    fetch_samples(path_of(location), SAMPLES_FILE)
    file = path_of(location) / SAMPLES_FILE
    return _samples_status(file) if file.exists() else _run_status(path_of(location))


def statuses_of_name(name: str, root: Path) -> list[Status]:
    """The newest store or run of each kind that has this name, in the pipeline's order; none where one kind has it."""
    kinds = kinds_with_name(root, name)
    return [status_of(f"{kind}/{name}", root) for kind in kinds] if len(kinds) > 1 else []


def unfinished(root: Path) -> list[Status]:
    """The status of every store and run below `root` that is not complete, damaged ones too.

    Raises:
        ValueError: there is no such folder.
    """
    for kind in KINDS:
        fetch_records(root, kind)
    if not root.is_dir():
        raise ValueError(f"--root: expected a folder of stores and models; received {root}, which is not there")
    looks: list[tuple[Callable[[Any], Status], Any]] = [
        *((_store_status, found) for kind in STORE_KINDS for found, _ in list_manifests(inside(origin_of(root), kind))),
        *((_run_status, file.parent) for kind in KINDS for file in sorted((root / kind).glob("*/run.json"))),
    ]
    found = [_status_or_damage(look, folder) for look, folder in looks]
    return [status for status in found if status.state != COMPLETE]


def _status_or_damage(look: Callable[[Any], Status], folder: Location) -> Status:
    try:
        return look(folder)
    except (StoreError, RunError) as error:
        return Status(str(folder), name_of(parent_of(folder)), DAMAGED, 0, 0, "", last_error=str(error))


def overview(statuses: list[Status]) -> list[dict[str, str]]:
    """One row of a table for each."""
    return [
        {
            "what": status.kind,
            "name": Path(status.path).name,
            "state": status.state,
            "done": f"{status.done:,}/{status.total:,} {status.unit}" if status.total else "",
            "time left": "" if status.seconds_left is None else format_seconds(status.seconds_left),
            "last error": status.last_error or "",
        }
        for status in statuses
    ]


def _set_status(folder: Path) -> Status:
    """Of a bucket set, whose record is written once its stores are complete."""
    record = read_set_record(folder)
    locations = member_locations(folder, record)
    missing = [one["num_rows"] for one in record["buckets"] if not (Path(locations[one["size"]]) / MANIFEST).exists()]
    total = sum(one["num_rows"] for one in record["buckets"])
    state = STALE if missing else COMPLETE
    kind = record["buckets"][0]["store"].split("/")[0]
    return Status(str(folder), f"bucket set of {kind}", state, total - sum(missing), total, "rows")


def _growing_set(root: Path, text: str) -> Status | None:
    """Of the stores `NAME-HEIGHTxWIDTH` of a bucket set whose record is not written yet; None where there are none."""
    kind, _, rest = text.partition("/")
    kinds, name = ((kind,), rest) if rest and kind in STORE_KINDS else (STORE_KINDS, text)
    found = {one: [_store_status(path) for path in _unrecorded(root, one, name)] for one in kinds}
    growing = {one: statuses for one, statuses in found.items() if any(s.state != COMPLETE for s in statuses)}
    if len(growing) != 1:
        return None
    ((kind, statuses),) = growing.items()
    leading = min(statuses, key=lambda one: (one.state != RUNNING, one.state == COMPLETE))
    return replace(
        leading,
        path=", ".join(Path(one.path).name for one in statuses),
        kind=f"bucket set of {kind}, recorded once its stores are complete",
        done=sum(one.done for one in statuses),
        total=sum(one.total for one in statuses),
        shards_done=sum(one.shards_done or 0 for one in statuses),
        shards=sum(one.shards or 0 for one in statuses),
    )


def _unrecorded(root: Path, kind: str, name: str) -> list[Path]:
    """The newest store of each size of a set that is newer than the stores of this name's recorded sets."""
    recorded = {Path(one) for folder in set_folders(root, kind, name) for one in _members(folder)}
    since, sizes = 0.0, dict[str, tuple[float, Path]]()
    for path in map(Path, store_locations(inside(root, kind))):
        found = re.fullmatch(rf"{re.escape(name)}-(\d+x\d+)-[0-9a-f]{{12}}", path.name)
        if found is None or not (path / MANIFEST).is_file():
            continue
        created = read_manifest(open_bytestore(path)).created_unix_seconds
        if path.absolute() in recorded:
            since = max(since, created)
        else:
            sizes[found[1]] = max(sizes.get(found[1], (0.0, path)), (created, path))
    return [path for created, path in sizes.values() if created > since]


def _members(folder: Path) -> list[Location]:
    return [*member_locations(folder, read_set_record(folder)).values()]


def _samples_status(file: Path) -> Status:
    """Of a folder of samples, whose record is written last."""
    number = int(json.loads(file.read_text())["ingredients"]["sample"]["num"])
    return Status(str(file.parent), "samples", COMPLETE, number, number, "images")


def _store_status(location: Path | str) -> Status:
    writer = StoreWriter.open(location)
    folder = writer.blobs.local_path()
    record = read_status_file(folder) if folder is not None else None
    lease = writer.lease().owner()
    missing = [] if writer.complete else writer.missing_shards()
    done = writer.num_rows - sum(len(writer.shard_rows(shard)) for shard in missing)
    state = COMPLETE if writer.complete else RUNNING if lease and lease["alive"] else _ended(record, stale=bool(lease))
    return Status(
        writer.url,
        f"store of {writer.manifest.kind}",
        state,
        done,
        writer.num_rows,
        "rows",
        shards_done=writer.num_shards - len(missing),
        shards=writer.num_shards,
        holder=_holder(lease),
        hosts=hosts_of_store(writer.manifest) if writer.complete else None,
        **_pace(record, state),
    )


def _run_status(path: Path) -> Status:
    run, copied = RunFolder.open(path), copied_so_far(path)
    record = read_status_file(path)
    if copied.owner is not None and not (record and record["alive"]):
        record = copied.owner
    total = int(run.record.config["steps"])
    state = COMPLETE if run.complete else RUNNING if record and record["alive"] else _ended(record)
    said = (record or {}).get("done", 0) if state == RUNNING else 0
    done = total if run.complete else max(newest_step(path / "checkpoints"), copied.step, said)
    kind = f"run of {run.record.kind}" if run.record.kind in KINDS else "run"
    holder = None if run.complete or record is None else _holder(record)
    epochs = _epochs(run)
    known = {"holder": holder, "epochs": epochs, "hosts": hosts_of_run(run), **_pace(record, state)}
    return Status(str(origin_of(path)), kind, state, done, total, "steps", **known)


def _epochs(run: RunFolder) -> str | None:
    """Of a finished run that followed a store its epochs' rows; of one in training what it has recorded so far."""
    if run.record.followed:
        return epochs_text(run.record.followed)
    return epochs_so_far(run.path)


def _ended(record: Mapping[str, Any] | None, stale: bool = False) -> str:
    """What became of work that nobody does now: by its last word, or that it had none."""
    said = record.get("state", RUNNING) if record else None
    if said in (FAILED, STOPPED):
        return str(said)
    return STALE if stale or said == RUNNING else STOPPED


def _holder(owner: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if owner is None:
        return None
    beat = owner.get("heartbeat_unix_seconds")
    age = round(max(0.0, time.time() - beat), 1) if isinstance(beat, int | float) else None
    return {**{key: owner.get(key) for key in ("host", "process", "alive")}, "heartbeat_seconds_ago": age}


def _holder_text(holder: Mapping[str, Any]) -> str:
    age = holder["heartbeat_seconds_ago"]
    beat = "no heartbeat" if age is None else f"heartbeat {format_seconds(age)} ago"
    return f"process {holder['process']} on {holder['host']}, {beat}, {'alive' if holder['alive'] else 'gone'}"


def _pace(record: Mapping[str, Any] | None, state: str) -> dict[str, Any]:
    """What the driver itself says, as fields of Status; rates only while it works."""
    if record is None or state == COMPLETE:
        return {}
    names = ("per_second", "per_second_now", "seconds_left") if state == RUNNING else ()
    rates = {name: record.get(name) for name in names}
    return {**rates, "stage": record.get("progress"), "last_error": record.get("error"), "facts": record.get("facts")}
