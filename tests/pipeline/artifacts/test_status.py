"""Status: what another terminal can tell of a store or run, at work, stopped, killed and complete."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from jobs.config.stages import RuntimeConfig
from pipeline.artifacts.status import status_of
from pipeline.cli import main
from pipeline.console.watch import StatusFile, Watch
from stores import ArraySpec, StoreWriter, new_index
from stores.care.verification import verify
from stores.format.layout import PROGRESS

PROJECT = Path(__file__).parents[3]
RECORD = {
    "progress": "encode",
    "state": "running",
    "done": 4,
    "total": 10,
    "unit": "images",
    "per_second": 2.0,
    "per_second_now": 3.0,
    "seconds_left": 3.0,
    "facts": {"shards_done": 1, "shards": 3, "seconds_by_part": {"encode": 3.0, "write": 1.0}},
}
HOLD = """
import sys, time
from stores import StoreWriter
with StoreWriter.open(sys.argv[1]).lease():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path):
    """A latent store of 3 shards, the first of them done."""
    writer = StoreWriter.create(
        tmp_path / "runs" / "latents",
        kind="latents",
        name="mine",
        arrays=[ArraySpec("latents", (2, 2, 4))],
        index=new_index([f"{row}" for row in range(10)]),
        ingredients={},
        rows_per_shard=4,
    )
    write(writer, 0)
    return writer


def write(writer, shard):
    writer.write_shard(shard, {"latents": np.ones((len(writer.shard_rows(shard)), 1, 2, 2, 4), np.float16)})


def answer(*words):
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0
    return done.output


def test_of_a_name_that_several_kinds_have_all_are_listed(writer):
    root = writer.path.parents[1]
    StoreWriter.create(root / "features", "features", "mine", [ArraySpec("features", (1, 1, 2))], new_index(["0"]), {})
    features, latents = json.loads(answer("status", "mine", "--root", str(root), "--json"))["named"]
    assert (features["kind"], features["done"]) == ("store of features", 0)
    assert (latents["kind"], latents["path"]) == ("store of latents", str(writer.path))
    assert "4/10 rows" in answer("status", "mine", "--root", str(root))
    assert "4/10 rows" in answer("status", "latents/mine", "--root", str(root))


def test_without_a_name_all_that_is_unfinished(writer):
    root = writer.path.parents[1]
    done = StoreWriter.create(
        root / "features", "features", "done", [ArraySpec("features", (1, 1, 2))], new_index(["0"]), {}
    )
    done.write_shard(0, {"features": np.ones((1, 1, 1, 1, 2), np.float16)})
    done.finalize()
    (found,) = json.loads(answer("status", "--root", str(root), "--json"))["unfinished"]
    assert (found["path"], found["done"], found["total"]) == (str(writer.path), 4, 10)
    assert "4/10 rows" in answer("status", "--root", str(root), "--watch")  # nobody works on it: one look
    assert len(answer("status", "--root", str(root), "--watch", "--json").splitlines()) == 1
    for shard in (1, 2):
        write(writer, shard)
    writer.finalize()
    assert "nothing unfinished" in answer("status", "--root", str(root))


def test_what_is_damaged_hides_nothing_else(writer):
    root = writer.path.parents[1]
    half = root / "generators" / "half-0123456789ab"
    half.mkdir(parents=True)
    (half / "run.json").write_text("{")
    (root / "features" / "torn-0123456789ab").mkdir(parents=True)
    (root / "features" / "torn-0123456789ab" / "manifest.json").write_text("{")
    found = json.loads(answer("status", "--root", str(root), "--json"))["unfinished"]
    assert {Path(one["path"]).name: one["state"] for one in found} == {
        writer.path.name: "stopped",
        half.name: "damaged",
        "torn-0123456789ab": "damaged",
    }
    listed = answer("stores", "ls", "--root", str(root))
    assert all(name in listed for name in (half.name, writer.path.name, "torn-0123456789ab"))


def test_a_root_that_is_not_there_is_named(tmp_path):
    done = CliRunner().invoke(main, ["status", "--root", str(tmp_path / "typo")])
    assert done.exit_code == 2
    assert "typo, which is not there" in done.output


def test_a_store_at_work(writer):
    with writer.lease():
        StatusFile([writer.path])(RECORD)
        status = status_of(str(writer.path), writer.path.parents[1])
        assert verify(writer.path).problems == []
    assert (status.state, status.kind, status.stage) == ("running", "store of latents", "encode")
    assert (status.done, status.total, status.shards_done, status.shards) == (4, 10, 1, 3)
    assert (status.per_second, status.per_second_now, status.seconds_left) == (2.0, 3.0, 3.0)
    assert (status.holder["host"], status.holder["process"]) == (socket.gethostname(), os.getpid())
    assert status.holder["alive"]
    rows = {row["status"]: row["value"] for row in status.as_rows()}
    assert rows["done"] == "4/10 rows, 1/3 shards"
    assert rows["seconds by part"] == "encode 75 %  write 25 %"
    assert rows["rows/s"] == "now 3.00, average 2.00"


def test_a_store_that_several_hosts_made_names_them_and_the_slowest(writer):
    for shard in writer.missing_shards():
        write(writer, shard)
    hosts = {"h1": {"rows": 8, "rows_per_second": 3.2}, "h2": {"rows": 2, "rows_per_second": None}}
    writer.finalize(attributes={"hosts": hosts | {"h3": {"rows": 4, "rows_per_second": 12.5}, "h4": "damaged"}})
    status = status_of(str(writer.path), writer.path.parents[1])
    rows = {row["status"]: row["value"] for row in status.as_rows()}
    assert rows["hosts"] == "h1: 8 rows, 3.20/s, slowest; h2: 2 rows; h3: 4 rows, 12.5/s"
    assert status.as_record()["hosts"][0] == {"host": "h1", "rows": 8, "rows_per_second": 3.2, "slowest": True}


def test_a_stopped_store_tells_its_last_error_and_no_rate(writer):
    StatusFile([writer.path])({**RECORD, "state": "failed", "error": "ShardFailed: shard 2"})
    status = status_of(writer.path.name, writer.path.parents[1])
    assert (status.state, status.last_error) == ("failed", "ShardFailed: shard 2")
    assert status.per_second is None
    assert status.holder is None


def test_a_store_never_begun_by_a_driver_is_stopped(writer):
    assert status_of(str(writer.path), writer.path).state == "stopped"


def test_a_killed_driver_is_stale(writer):
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", HOLD, str(writer.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "held\n"
    assert status_of(str(writer.path), writer.path).holder["alive"]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=600)
    status = status_of(str(writer.path), writer.path)
    assert (status.state, status.holder["process"], status.holder["alive"]) == ("stale", process.pid, False)


def test_a_complete_store(writer):
    for shard in (1, 2):
        write(writer, shard)
    writer.finalize()
    status = status_of(str(writer.path), writer.path)
    assert (status.state, status.done, status.shards_done, status.holder) == ("complete", 10, 3, None)


def test_a_run_finished_at_work_and_killed(world, world_copy, tmp_path):
    finished = world.made.models.generator.path
    assert (status_of(str(finished), world.root).state, status_of(str(finished), world.root).done) == ("complete", 4)
    root = world_copy("generators")
    path = root / "generators" / finished.name
    record = json.loads((path / "run.json").read_text())
    del record["record_sha256"]
    (path / "run.json").write_text(json.dumps({**record, "status": "training"}))
    for step, file in ((3, "state.json"), (4, "model.safetensors")):  # the second is not complete
        (path / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
        (path / "checkpoints" / f"step-{step:08d}" / file).write_text("{}")
    assert (status_of(path.name, root).state, status_of(path.name, root).done) == ("stopped", 3)
    StatusFile([path])({**RECORD, "unit": "steps", "done": 2, "total": 4, "facts": {"loss": 0.5}})
    assert (status_of(path.name, root).state, status_of(path.name, root).done) == ("running", 3)
    gone = subprocess.Popen(["true"])
    gone.wait()
    progress = json.loads((path / PROGRESS).read_text())
    (path / PROGRESS).write_text(json.dumps({**progress, "process": gone.pid}))
    status = status_of(path.name, root)
    assert (status.state, status.per_second, status.holder["alive"]) == ("stale", None, False)


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    return ended.value.code, capsys.readouterr()


def test_the_command_for_people_and_for_programs(writer, capsys):
    code, captured = run(capsys, "status", writer.path)
    assert code == 0
    assert "4/10 rows, 1/3 shards" in captured.out
    code, captured = run(capsys, "status", writer.path.name, "--root", writer.path.parents[1], "--json")
    assert json.loads(captured.out)["state"] == "stopped"


def test_watching_ends_when_nobody_works_any_more(writer, capsys, monkeypatch):
    lease = writer.lease()
    lease.__enter__()
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        if len(sleeps) == 2:
            lease.__exit__(None, None, None)

    monkeypatch.setattr("pipeline.commands.status.time", replace_sleep(sleep))
    code, captured = run(capsys, "status", writer.path, "--watch", "--every", "3", "--json")
    assert code == 0
    assert sleeps == [3.0, 3.0]
    assert [json.loads(line)["state"] for line in captured.out.splitlines()] == ["running", "running", "stopped"]


def replace_sleep(sleep):
    class Time:
        pass

    Time.sleep = staticmethod(sleep)
    return Time


def test_neither_store_nor_run_is_a_mistake(tmp_path, capsys):
    code, captured = run(capsys, "status", "nothing", "--root", tmp_path)
    assert code == 2
    assert "expected the name, the path or the beginning of the folder's name" in captured.err


def test_extract_leaves_no_progress_behind_and_a_failed_one_its_error(world, tmp_path, monkeypatch):
    from pipeline.console.output import Output
    from pipeline.stages import ENCODE
    from pipeline.workflow.stage_runner import StageRunner

    models, recipe = world.made.models, world.recipe
    recipe = replace(recipe, runtime=replace(recipe.runtime, executor="local"))
    stages = StageRunner(tmp_path / "runs", recipe, Output(json=True))

    def fail(self, shard):
        raise RuntimeError("the device is gone")

    with monkeypatch.context() as patch:
        patch.setattr("jobs.extraction.latents.EncodeWorker.run", fail)
        with pytest.raises(Exception, match="the device is gone"):
            stages.do(ENCODE, world.made.features, models.autoencoder)
    (path,) = (tmp_path / "runs" / "latents").iterdir()
    status = status_of(str(path), tmp_path)
    assert status.state == "failed"
    assert "the device is gone" in status.last_error
    watch = stages.watch = Watch(RuntimeConfig(progress_json=str(tmp_path / "lines")))
    store = stages.do(ENCODE, world.made.features, models.autoencoder)
    watch.close()
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert {line["progress"] for line in lines} == {"encode"}
    assert (lines[-1]["state"], lines[-1]["done"], lines[-1]["facts"]["shards_done"]) == ("done", 64, 4)
    assert not (store.path / PROGRESS).exists()
    assert store.content_id == world.made.latents.content_id
