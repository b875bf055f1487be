"""Those who hear of a command's progress: a file beside the result, JSON lines, Prometheus metrics."""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from jobs.config import RuntimeConfig
from jobs.loggers import check_logger
from pipeline.console.progress import DONE, RUNNING, Record, Watcher
from stores.backends import temporary_beside
from stores.core import is_alive, this_process
from stores.format import LEASE, PROGRESS

if TYPE_CHECKING:
    from pipeline.console.metrics_page import MetricsPage


class Watch:
    """What the settings ask for, open for the length of a command; `close` it at the end.

    Raises:
        ValueError: a port that is taken, a dashboard without Ray, or a tracker that is not installed.
        OSError: a file that cannot be written.
    """

    def __init__(
        self, runtime: RuntimeConfig | None = None, say: Callable[[str], object] = lambda _: None, name: str = ""
    ) -> None:
        """`name` is the label `run` of metrics."""
        self._lines: TextIO | None = None
        self._page: MetricsPage | None = None
        if runtime is not None and runtime.dashboard and runtime.executor == "local":
            raise ValueError("runtime.dashboard: expected the executor ray; a local one has no dashboard; leave it out")
        if runtime is not None:
            check_logger(runtime.logger)
        if runtime is not None and runtime.metrics_port is not None:
            self._page = _metrics_page(runtime.metrics_port, name)
            say(f"metrics: {self._page.url}")
        if runtime is not None and runtime.progress_json is not None:
            self._lines = open(runtime.progress_json, "a")  # noqa: SIM115 - closed by `close`

    def watchers(self, folders: Sequence[Path] = ()) -> list[Watcher]:
        """For one stage; `folders` are the folders of what it makes, in the order in which they are made."""
        found: list[Watcher] = [StatusFile(folders)] if folders else []
        if self._lines is not None:
            found.append(self._write_line)
        return found + ([self._page.update] if self._page is not None else [])

    def close(self) -> None:
        """Stop serving metrics and close the file."""
        if self._page is not None:
            self._page.close()
        if self._lines is not None:
            self._lines.close()

    def _write_line(self, record: Record) -> None:
        assert self._lines is not None
        print(json.dumps({"unix_seconds": round(time.time(), 3), **record}), file=self._lines, flush=True)


def _metrics_page(port: int, name: str) -> "MetricsPage":
    from pipeline.console.metrics_page import MetricsPage  # loads prometheus_client

    return MetricsPage(port, name)


class StatusFile:
    """progress.json in the folder that is being made: how far it is and who works on it; removed when it is done.

    It lies in the last of the folders that was begun: a stage may make two models one after the other.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders

    def __call__(self, record: Record) -> None:
        """Write the record to the folder that is being made; remove it when the work is done."""
        begun = [folder for folder in self.folders if folder.is_dir() and not _is_anothers(folder)]
        for folder in begun[: None if record["state"] == DONE else -1]:
            (folder / PROGRESS).unlink(missing_ok=True)
        if begun and record["state"] != DONE:
            facts = {**record, **this_process(), "heartbeat_unix_seconds": round(time.time(), 3)}
            file = begun[-1] / PROGRESS
            temporary = temporary_beside(file)
            try:
                # Not flushed to the disk: it is worth nothing after the machine went down.
                temporary.write_text(json.dumps(facts))
                os.replace(temporary, file)
            finally:
                temporary.unlink(missing_ok=True)


def read_status_file(folder: Path) -> dict[str, Any] | None:
    """What a driver wrote last, with `alive`: whether it still works on it; None when there is nothing to read."""
    record = _read(folder / PROGRESS)
    return None if record is None else {**record, "alive": record.get("state") == RUNNING and is_alive(record)}


def _is_anothers(folder: Path) -> bool:
    """Whether another driver is at work there; this one will be refused, and must not say that the work failed.

    One whose lease this process has taken over is not, however fresh its last sign of life.
    """
    found, lease = read_status_file(folder), _read(folder / LEASE)
    return found is not None and found["alive"] and not _is_mine(found) and (lease is None or not _is_mine(lease))


def _is_mine(record: dict[str, Any]) -> bool:
    return all(record.get(name) == value for name, value in this_process().items())


def _read(file: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is none that can be read."""
    try:
        record = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
