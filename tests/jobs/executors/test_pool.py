"""Shards on workers: every one done once, failures retried, a person's mistake raised as it is."""

import os
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from ray import cloudpickle

from jobs.config.stages import RuntimeConfig
from jobs.executors import shard_queue
from jobs.executors.pool import run_shards
from jobs.executors.worker import TRIES, HostError, ShardFailed
from stores import StoreError

# Workers cannot import this file: other packages bring a module `tests` of their own.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Recorder:
    """A worker that leaves a file for each call; `how` says what goes wrong, at shard 3."""

    def __init__(self, folder: Path, how: str = "fine") -> None:
        self.folder, self.how = folder, how
        if how == "mistake at the start":
            raise StoreError("weights: expected a file; received none")
        if how == "one blind host":
            try:
                (folder.parent / "blind").touch(exist_ok=False)
            except FileExistsError:
                return
            raise HostError("/data: expected the images; received nothing")
        if how == "all blind":
            raise HostError("/data: expected the images; received nothing", host="node7")

    def run(self, shard: int) -> dict[str, int]:
        file = self.folder / f"{shard}-{os.getpid()}-{time.monotonic_ns()}"
        file.write_text("")
        before = len(list(self.folder.glob(f"{shard}-*")))
        if shard == 3 and self.how == "mistake":
            raise StoreError("row 3: expected finite values")
        if shard == 3 and (self.how == "always" or (self.how == "once" and before == 1)):
            raise RuntimeError("the disk hiccuped")
        if shard == 3 and self.how == "crash" and before == 1:
            os._exit(9)
        if shard == 3 and self.how == "hang" and before == 1:
            time.sleep(240)
        return {"shard": shard, "rows": 1, "rejected": 0}


def run(tmp_path, how="fine", shards=range(7), **runtime):
    results = []
    run_shards(partial(Recorder, tmp_path, how), list(shards), RuntimeConfig(threads=1, **runtime), results.append)
    return sorted(result["shard"] for result in results)


def calls(folder):
    return Counter(int(file.name.split("-")[0]) for file in folder.iterdir())


@pytest.fixture(autouse=True)
def no_stragglers(monkeypatch):
    """However busy the machine is, no shard is given a second time for its slowness."""
    monkeypatch.setattr(shard_queue, "STRAGGLING_SECONDS", float("inf"))


@pytest.fixture(params=["local", "ray"])
def executor(request):
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    return request.param


def test_every_shard_is_done_exactly_once(tmp_path, executor):
    assert run(tmp_path, executor=executor, workers=2) == list(range(7))
    assert calls(tmp_path) == Counter(range(7))


def test_ray_spreads_the_shards_over_processes(tmp_path, ray_cluster):
    run(tmp_path, executor="ray", workers=2)
    processes = {file.name.split("-")[1] for file in tmp_path.iterdir()}
    assert str(os.getpid()) not in processes


def test_no_shard_starts_no_worker():
    def factory():
        raise AssertionError("a worker was made")

    run_shards(factory, [], RuntimeConfig(), lambda result: None)


@pytest.mark.parametrize("how", ["mistake", "mistake at the start"])
def test_a_persons_mistake_is_raised_as_it_is_and_not_tried_again(tmp_path, executor, how):
    with pytest.raises(StoreError, match="expected"):
        run(tmp_path, how, executor=executor)
    assert calls(tmp_path)[3] <= 1


def test_a_worker_whose_host_cannot_begin_leaves_its_shards_to_the_others(tmp_path, ray_cluster, caplog):
    folder = tmp_path / "calls"
    folder.mkdir()
    assert run(folder, "one blind host", executor="ray", workers=2) == list(range(7))
    assert (tmp_path / "blind").exists()
    assert "received nothing; its shards go to other workers" in caplog.text


def test_when_no_host_can_begin_one_of_them_is_named(tmp_path, executor):
    with pytest.raises(HostError, match=r"host node7: /data: expected the images; received nothing"):
        run(tmp_path, "all blind", executor=executor, workers=2)


@pytest.mark.parametrize("how", ["once", "crash"])
def test_on_ray_a_shard_that_failed_is_done_again(tmp_path, ray_cluster, how):
    assert run(tmp_path, how, executor="ray") == list(range(7))
    assert calls(tmp_path)[3] == 2


def test_on_ray_a_shard_that_always_fails_ends_the_run_with_its_error(tmp_path, ray_cluster):
    with pytest.raises(ShardFailed, match=rf"shard 3 failed {TRIES} times.*kept.*RuntimeError: the disk hiccuped"):
        run(tmp_path, "always", executor="ray")
    assert calls(tmp_path)[3] == TRIES


def test_in_this_process_a_failure_is_raised_at_once(tmp_path):
    with pytest.raises(RuntimeError, match="the disk hiccuped"):
        run(tmp_path, "always", executor="local")


def test_on_ray_a_straggler_is_done_by_another_worker_and_not_waited_for(tmp_path, ray_cluster, monkeypatch):
    monkeypatch.setattr(shard_queue, "STRAGGLING_SECONDS", 1.0)
    began = time.monotonic()
    assert run(tmp_path, "hang", executor="ray", workers=2) == list(range(7))
    assert time.monotonic() - began < 200  # the first copy still sleeps
    assert calls(tmp_path)[3] == 2


@pytest.mark.parametrize("placement", ["pack", "spread"])
def test_more_actors_than_fit_wait_while_the_others_work(tmp_path, ray_cluster, placement):
    assert run(tmp_path, executor="ray", workers=5, placement=placement) == list(range(7))
    assert calls(tmp_path) == Counter(range(7))


def test_no_actor_is_left_behind(tmp_path, ray_cluster):
    run(tmp_path, executor="ray", workers=2)
    pids = {int(file.name.split("-")[1]) for file in tmp_path.iterdir()}
    deadline = time.monotonic() + 600
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)
