"""Copy a run's folder to its URL in an order in which nothing there ever names a file that is not there yet."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobs.remote.fetching import CHECKPOINTS, MODEL, is_log, known_keys, remote_checkpoints
from jobs.runs import COMPLETE, RUN_FILE, STATE, Rotation, RunFolder, RunRecord, checkpoints, step_of
from stores.backends import ByteStore, is_temporary, link_or_copy
from stores.core import Lease

PROGRESS, LINKS = "progress.json", ".copying"


class RunCopier:
    """Copies what is new of the run in `path` to `blobs`; `lease` is the one that lies there.

    The order: logs; of each checkpoint, the newest first, the files and then the state, which names them; the model;
    the record of the finished run. A checkpoint that is let go loses its state first. Threads may call it at once.
    """

    def __init__(self, path: Path, blobs: ByteStore, lease: Lease) -> None:
        self.path, self.blobs, self.lease = path, blobs, lease
        self._sent: dict[str, tuple[int, int]] = {}  # size and time of each file as it was copied
        self._states: dict[str, bytes] | None = None  # of the checkpoints that are there
        self._lock = threading.Lock()

    def copy(self) -> None:
        """Copy all that is new.

        Raises:
            OSError: something could not be copied; the next call goes on from there.
            LeaseHeldError: another process has taken over this run.
        """
        with self._lock:
            if not (self.path / RUN_FILE).exists():
                return
            self.lease.check()
            record = RunFolder.open(self.path).record
            if record.status != COMPLETE:
                self._send(RUN_FILE)
            for key in self._logs():
                self._send(key, whole=False)
            self._copy_checkpoints(record)
            if record.status == COMPLETE:
                for key in [*self._model(), RUN_FILE]:
                    self._send(key)

    def missing(self) -> list[str]:
        """What of the run is not at the URL, as far as this process knows: files, and checkpoints as a whole."""
        known = self._states or {}
        states = {one.name: (one / STATE).read_bytes() for one in checkpoints(self.path / CHECKPOINTS)}
        lacking = [f"{CHECKPOINTS}/{name}" for name, state in states.items() if known.get(name) != state]
        files = [*self._logs(), *self._model(), RUN_FILE]
        return [key for key in files if self._is_new(key)] + lacking

    def _logs(self) -> list[str]:
        files = (file for file in sorted(self.path.rglob("*")) if file.is_file() and not is_temporary(file.name))
        keys = (file.relative_to(self.path).as_posix() for file in files)
        wanted = (key for key in keys if is_log(key) and key != PROGRESS and not key.startswith(LINKS))
        return known_keys(wanted, self.path)

    def _model(self) -> list[str]:
        return [f"{MODEL}/{file.name}" for file in sorted((self.path / MODEL).glob("*")) if file.is_file()]

    def _is_new(self, key: str) -> bool:
        return self._sent.get(key) != _version(self.path / key)

    def _send(self, key: str, whole: bool = True) -> None:
        """Copy a file that has changed; one that is not `whole` may grow meanwhile: as much as there is of it."""
        if not self._is_new(key):
            return
        version = _version(self.path / key)
        if whole:
            self.blobs.write_file(key, self.path / key)
        else:
            self.blobs.write(key, (self.path / key).read_bytes())
        self._sent[key] = version

    def _copy_checkpoints(self, record: RunRecord) -> None:
        there = self._known_states()
        while (name := self._next_checkpoint(there)) is not None:
            with self._linked(name) as folder:
                if folder is None:
                    continue
                self._let_go(name)
                there.pop(name, None)
                for file in sorted(folder.iterdir(), key=lambda file: (file.name == STATE, file.name)):
                    self.blobs.write_file(f"{CHECKPOINTS}/{name}/{file.name}", file)
                there[name] = (folder / STATE).read_bytes()
        self._rotate(record, there)

    @contextmanager
    def _linked(self, name: str) -> Iterator[Path | None]:
        """A folder of links to a checkpoint's files, which the training may let go; None where it just has."""
        checkpoint, folder = self.path / CHECKPOINTS / name, self.path / LINKS
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with suppress(FileNotFoundError, shutil.Error):
                shutil.copytree(checkpoint, folder, copy_function=link_or_copy)
            # The state goes first: while it is there all files were.
            yield folder if (checkpoint / STATE).exists() else None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _known_states(self) -> dict[str, bytes]:
        if self._states is None:
            names = remote_checkpoints(self.blobs)
            self._states = {name: self.blobs.read(f"{CHECKPOINTS}/{name}/{STATE}") for name in names}
            for name in {key.split("/")[1] for key in self.blobs.keys(f"{CHECKPOINTS}/")} - self._states.keys():
                self._let_go(name)  # what an interrupted copy left
        return self._states

    def _next_checkpoint(self, there: dict[str, bytes]) -> str | None:
        """The name of the newest one in the folder that is not at the URL."""
        for one in reversed(checkpoints(self.path / CHECKPOINTS)):
            try:
                if there.get(one.name) != (one / STATE).read_bytes():
                    return one.name
            except FileNotFoundError:  # let go at this moment
                continue
        return None

    def _rotate(self, record: RunRecord, there: dict[str, bytes]) -> None:
        """Let go at the URL what the run's settings let go, also of what was never in this folder."""
        known = {"last": "keep", "every": "keep_every", "best": "keep_best"}
        rotation = Rotation(**{name: record.config[key] for name, key in known.items() if key in record.config})
        kept = rotation.kept({step_of(Path(name)): _loss(state) for name, state in there.items()})
        here = {one.name for one in checkpoints(self.path / CHECKPOINTS)}
        for name in [name for name in there if step_of(Path(name)) not in kept and name not in here]:
            self._let_go(name)
            del there[name]

    def _let_go(self, name: str) -> None:
        keys = list(self.blobs.keys(f"{CHECKPOINTS}/{name}/"))
        for key in sorted(keys, key=lambda key: not key.endswith(f"/{STATE}")):
            self.blobs.delete(key)


def _version(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except FileNotFoundError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _loss(state: bytes) -> float | None:
    found: dict[str, Any] = json.loads(state)
    return found.get("loss")
