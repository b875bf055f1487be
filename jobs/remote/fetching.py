"""Bring what a working folder lacks of a run or of samples from the URL that it stands for, each file checked."""

import hashlib
import os
import shutil
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.runs import (
    COMPLETE,
    RUN_FILE,
    STATE,
    DamagedCheckpointError,
    RunError,
    RunFolder,
    RunRecord,
    RunReport,
    checkpoint_files,
    checkpoints,
    damage_of,
    newest_step,
    step_of,
    verify_run,
)
from stores.backends import (
    ByteStore,
    is_key,
    make_folder,
    name_of,
    new_version,
    open_bytestore,
    parent_of,
    path_of,
    replace_file,
    url_of,
)
from stores.core import Lease, store_locations

CHECKPOINTS, MODEL, LEASE_FILE = "checkpoints", "model", "lease.json"
PART_BYTES, SHOWN = 64 << 20, 3


def fetch_record(path: Path) -> RunRecord | None:
    """The record that the run of a working folder has at its URL; None where it has none.

    It takes the place of the one in the folder where that is missing or damaged, or where the run was finished
    elsewhere. Of a folder that stands for no URL nothing is done.

    Raises:
        RunError: the record at the URL is damaged.
        OSError: the URL cannot be read.
    """
    url = url_of(path)
    if url is None:
        return None
    try:
        data = open_bytestore(url).read(RUN_FILE)
    except FileNotFoundError:
        return None
    record = RunRecord.from_bytes(data, f"{url}/{RUN_FILE}")
    if _is_behind(path, record):
        make_folder(path)
        replace_file(path / RUN_FILE, data)
    return record


def is_copied(path: Path) -> bool:
    """Whether the finished run of a folder is at the URL that the folder stands for, if it stands for one."""
    record = fetch_record(path)
    return url_of(path) is None or (record is not None and record.status == COMPLETE)


def fetch_records(root: Path, kind: str, name: str | None = None) -> None:
    """Fetch the records of the runs of a kind, all or those whose folder's name begins so, that a URL has."""
    url = url_of(root)
    if url is not None:
        for location in store_locations(f"{url}/{kind}"):
            if name is None or name_of(location).startswith(name):
                fetch_record(path_of(location))


def _is_behind(path: Path, record: RunRecord) -> bool:
    try:
        own = RunFolder.open(path).record
    except RunError:
        return True
    return record.status == COMPLETE and own.weights_sha256 != record.weights_sha256


def fetch_run(path: Path) -> RunFolder:
    """The run in a working folder, finished as it may be at its URL: with its model and logs, without checkpoints.

    Raises:
        RunError: there is none, or a file of its model is not the one that its record names.
    """
    record, url = fetch_record(path), url_of(path)
    run = RunFolder.open(path)
    if url is not None and record is not None and record.status == COMPLETE:
        blobs = open_bytestore(url)
        for name, digest in run.record.files_sha256.items():
            if damage_of(run.model_path / name, digest) is not None:
                fetch_file(blobs, f"{MODEL}/{name}", run.model_path / name, digest)
        _fetch_logs(path, blobs)
    return run


def fetch_checkpoints(path: Path, every: bool = False) -> None:
    """Fetch the newest whole checkpoint at the URL where the folder has no newer one; `every`: all of them.

    A damaged one is named in a warning, and the next older one is fetched.

    Raises:
        ValueError: every checkpoint at the URL is damaged, and the folder has none.
    """
    url = url_of(path)
    if url is None:
        return
    blobs, folder = open_bytestore(url), path / CHECKPOINTS
    here = {one.name for one in checkpoints(folder)}
    there = [name for name in remote_checkpoints(blobs) if name not in here]
    wanted = [name for name in there if every or step_of(Path(name)) > newest_step(folder)]
    fetched = False
    for name in reversed(wanted):
        fetched |= _fetch_checkpoint(blobs, name, folder)
        if fetched and not every:
            break
    if fetched:
        _fetch_logs(path, blobs)
    elif wanted and not here:
        raise ValueError(
            f"{url}: expected an undamaged checkpoint; all {len(wanted)} are damaged. Delete the run to start anew"
        )


def remote_checkpoints(blobs: ByteStore) -> list[str]:
    """Names of the whole checkpoints in a run's folder at a URL, oldest first: the state of each comes there last."""
    keys = (key.split("/") for key in blobs.keys(f"{CHECKPOINTS}/"))
    return sorted(parts[1] for parts in keys if len(parts) == 3 and parts[2] == STATE)


@dataclass(frozen=True)
class CopiedRun:
    """What a URL tells of a run: the step of its newest checkpoint there, and who holds its lease."""

    step: int = 0
    owner: dict[str, Any] | None = None


def copied_so_far(path: Path) -> CopiedRun:
    """How far the run of a folder is at the URL that the folder stands for."""
    url = url_of(path)
    if url is None:
        return CopiedRun()
    blobs = open_bytestore(url)
    names = remote_checkpoints(blobs)
    return CopiedRun(step_of(Path(names[-1])) if names else 0, Lease(blobs).owner())


def verify_remote_run(url: str) -> RunReport:
    """What `verify_run` finds of a run at a URL, every file of which is read from there."""
    blobs = open_bytestore(url)
    with TemporaryDirectory(prefix="fae-pipe-") as folder:
        path = Path(folder) / name_of(parent_of(url)) / name_of(url)
        for key in known_keys(blobs.keys(), url):
            fetch_file(blobs, key, path / key)
        return replace(verify_run(path), path=url)


def known_keys(names: Iterable[str], where: object) -> list[str]:
    """Those names that can be copied; a warning names the others, which no command writes."""
    names = list(names)
    odd = [name for name in names if not is_key(name)]
    if odd:
        shown = ", ".join(map(repr, odd[:SHOWN])) + (f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else "")
        warnings.warn(
            f"{where}: expected names of letters, digits, '_', '-' and '.'; received {shown}, which is not copied; "
            "rename or remove it",
            stacklevel=2,
        )
    return [name for name in names if is_key(name)]


def _fetch_checkpoint(blobs: ByteStore, name: str, folder: Path) -> bool:
    """Whether a checkpoint was fetched whole; it is put in its place in one step."""
    temporary = folder / f".tmp-{name}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for key in known_keys(blobs.keys(f"{CHECKPOINTS}/{name}/"), blobs.url):
            fetch_file(blobs, key, temporary / key.rpartition("/")[2])
        for file, digest in checkpoint_files(temporary):
            if (problem := damage_of(file, digest)) is not None:
                raise DamagedCheckpointError(f"{blobs.url}/{CHECKPOINTS}/{name}/{file.name}: {problem}")
        shutil.rmtree(folder / name, ignore_errors=True)
        temporary.rename(folder / name)
    except (DamagedCheckpointError, FileNotFoundError) as error:  # the latter: it was let go meanwhile
        warnings.warn(f"{error}; going on from an older checkpoint", stacklevel=3)
        return False
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _fetch_logs(path: Path, blobs: ByteStore) -> None:
    """Fetch what lies beside model and checkpoints: metrics, rows of epochs, previews, events."""
    for key in known_keys(filter(is_log, blobs.keys()), blobs.url):
        file = path / key
        if not (file.is_file() and file.stat().st_size == blobs.size(key)):
            fetch_file(blobs, key, file)


def is_log(key: str) -> bool:
    """Whether a file of a run is neither its record nor of its model, its checkpoints or its lease."""
    return key.partition("/")[0] not in (CHECKPOINTS, MODEL, LEASE_FILE, RUN_FILE)


def fetch_file(blobs: ByteStore, key: str, file: Path, digest: str | None = None) -> None:
    """Write a blob to a file, whole or not at all.

    Raises:
        RunError: its bytes are not those of the digest.
    """
    left, start, received = blobs.size(key), 0, hashlib.sha256()  # before there is a folder of what is not there
    make_folder(file.parent)
    with new_version(file) as out:
        while left:
            part = bytearray(min(left, PART_BYTES))
            blobs.read_into(key, start, memoryview(part))
            out.write(part)
            received.update(part)
            start, left = start + len(part), left - len(part)
        if digest is not None and digest != (found := received.hexdigest()):
            raise RunError(
                f"{blobs.url}/{key}: expected sha256 {digest:.12}…; received {found:.12}…. It is damaged there: "
                "restore it, or delete the run there and run its stage again"
            )
