"""Who hears of progress: the file beside the result, JSON lines, Prometheus on loopback."""

import json
import os
import socket
import urllib.request
from pathlib import Path

import pytest

from jobs.config.stages import RuntimeConfig
from pipeline.console.progress import Progress
from pipeline.console.watch import StatusFile, Watch, read_status_file
from stores.backends.local import LocalByteStore
from stores.core.lease import Lease
from stores.format.layout import PROGRESS

SHARES = {"rows_by_worker": {"0": 3, "1": 1}, "seconds_by_part": {"decode": 1.5}}


def record(state="running", **more):
    return {"progress": "extract", "state": state, "done": 4, "total": 10, "unit": "images", **more}


def test_the_file_says_who_works_and_how_far_and_goes_with_the_end(tmp_path):
    watcher = StatusFile([tmp_path])
    watcher(record())
    found = read_status_file(tmp_path)
    assert (found["done"], found["process"], found["alive"]) == (4, os.getpid(), True)
    assert [file.name for file in tmp_path.iterdir()] == [PROGRESS]
    watcher(record("done"))
    assert not list(tmp_path.iterdir())


def test_a_failure_is_kept_until_the_work_goes_on(tmp_path):
    StatusFile([tmp_path])(record("failed", error="OSError: full"))
    found = read_status_file(tmp_path)
    assert (found["error"], found["alive"]) == ("OSError: full", False)


def test_of_several_folders_the_last_one_begun_has_the_file(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    watcher = StatusFile([first, second])
    watcher(record())
    assert not list(tmp_path.iterdir())
    first.mkdir()
    watcher(record())
    assert (first / PROGRESS).exists()
    second.mkdir()
    watcher(record())
    assert not (first / PROGRESS).exists()
    assert (second / PROGRESS).exists()


def test_another_driver_at_work_is_not_talked_over(tmp_path):
    theirs = {**record(), "host": "elsewhere", "boot": "b", "process": 1, "heartbeat_unix_seconds": 4e9}
    (tmp_path / PROGRESS).write_text(json.dumps(theirs))
    for state in ("running", "failed", "done"):
        StatusFile([tmp_path])(record(state))
        assert json.loads((tmp_path / PROGRESS).read_text()) == theirs


def test_one_whose_lease_was_taken_over_is_however_fresh_its_heartbeat(tmp_path):
    theirs = {**record(), "host": "elsewhere", "boot": "b", "process": 1, "heartbeat_unix_seconds": 4e9}
    (tmp_path / PROGRESS).write_text(json.dumps(theirs))
    watcher = StatusFile([tmp_path])
    with Lease(LocalByteStore(tmp_path)):
        watcher(record())
        assert read_status_file(tmp_path)["process"] == os.getpid()
    watcher(record("done"))
    assert not (tmp_path / PROGRESS).exists()


def test_one_that_has_died_is(tmp_path):
    theirs = {**record(), "host": "elsewhere", "boot": "b", "process": 1, "heartbeat_unix_seconds": 1.0}
    (tmp_path / PROGRESS).write_text(json.dumps(theirs))
    assert not read_status_file(tmp_path)["alive"]
    StatusFile([tmp_path])(record("failed"))
    assert read_status_file(tmp_path)["process"] == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[1]", "nonsense"])
def test_a_torn_file_says_nothing(tmp_path, text):
    (tmp_path / PROGRESS).write_text(text)
    assert read_status_file(tmp_path) is None


def test_json_lines_are_appended(tmp_path):
    file = tmp_path / "progress.jsonl"
    file.write_text("{}\n")
    watch = Watch(RuntimeConfig(progress_json=str(file)))
    with Progress("encode", watchers=watch.watchers()) as progress:
        progress(3, 9, SHARES)
    watch.close()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line.get("state") for line in lines] == [None, "running", "done"]
    assert lines[1]["facts"] == SHARES
    assert lines[1]["unix_seconds"] > 1e9


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=600) as answer:
        return answer.read().decode()


def test_metrics_are_served_on_loopback_until_the_end():
    said = []
    watch = Watch(RuntimeConfig(metrics_port=0), said.append, "flowers")
    url = said[0].removeprefix("metrics: ")
    assert url.startswith("http://127.0.0.1:")
    with Progress("encode", watchers=watch.watchers()) as progress:
        progress(3, 9, {**SHARES, "loss": float("nan"), "rejected": 2, "source": "a"})
        text = read(url)
    after = read(url)
    watch.close()
    host, where = f'host="{socket.gethostname()}"', 'run="flowers",stage="encode"'
    assert f'fae_pipe_done{{{host},{where},unit="images"}} 3.0' in text
    assert f'fae_pipe_total{{{host},{where},unit="images"}} 9.0' in text
    assert f"fae_pipe_running{{{host},{where}}} 1.0" in text
    assert f"fae_pipe_running{{{host},{where}}} 0.0" in after
    assert f'fae_pipe_part{{{host},name="rows_by_worker",part="0",{where}}} 3.0' in text
    assert f'fae_pipe_fact{{{host},name="rejected",{where}}} 2.0' in text
    assert "loss" not in text
    with pytest.raises(OSError, match="refused"):
        read(url)


def test_a_port_that_is_taken_is_a_mistake_with_a_name():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ValueError, match=rf"runtime.metrics_port: expected a free port of 127.0.0.1; {port} is not"
        ):
            Watch(RuntimeConfig(metrics_port=port))


def test_a_file_that_cannot_be_written_is_said_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        Watch(RuntimeConfig(progress_json=str(Path(tmp_path) / "no" / "file")))


def test_a_dashboard_without_ray_is_a_mistake():
    with pytest.raises(ValueError, match=r"runtime.dashboard: expected the executor ray"):
        Watch(RuntimeConfig(dashboard=True, executor="local"))
