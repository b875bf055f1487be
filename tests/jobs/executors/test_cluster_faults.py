"""A Ray cluster of three nodes whose workers are killed and whose nodes vanish: the store is the undisturbed one."""

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import cloudpickle
from ray._private import ray_constants
from ray.cluster_utils import Cluster

from jobs.config.stages import RuntimeConfig
from jobs.executors.ray_pool import ray_session
from jobs.executors.store_builder import write_missing_shards
from stores import ArraySpec, StoreWriter, new_index, open_store

pytestmark = pytest.mark.slow
# Workers cannot import this file: other packages bring a module `tests` of their own.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PROJECT = Path(__file__).parents[3]
KILLS = 20
ROWS, ROWS_PER_SHARD = 480, 4


class SlowWorker:
    """Writes shards whose values follow from the row numbers, and takes its time; its process id lies in `pids`."""

    def __init__(self, store: Path, pids: Path) -> None:
        self.writer, self.pids = StoreWriter.open(store), pids

    def run(self, shard: int) -> dict[str, Any]:
        (self.pids / str(os.getpid())).touch()
        rows = self.writer.shard_rows(shard)
        time.sleep(0.25)
        values = np.arange(rows.start, rows.stop, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
        self.writer.write_shard(shard, {"features": np.broadcast_to(values, (len(rows), 1, 64, 64, 16)).copy()})
        return {"shard": shard, "rows": len(rows), "rejected": 0}


def planned(folder: Path) -> StoreWriter:
    return StoreWriter.plan(
        folder,
        kind="features",
        name="faults",
        arrays=[ArraySpec("features", (64, 64, 16), "float32")],
        index=new_index([f"{row:05d}" for row in range(ROWS)]),
        ingredients={},
        rows_per_shard=ROWS_PER_SHARD,
    )


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three nodes on this machine; the driver is connected to the first. The other tests' Ray pauses meanwhile."""
    paused = ray.is_initialized()
    ray.shutdown()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=2)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()
    if paused:
        ray_session(RuntimeConfig(workers=2)).__enter__()


class Chaos:
    """Kills a random worker now and then, and twice a whole node, in whose place another one comes."""

    def __init__(self, cluster: Cluster, pids: Path, seed: int) -> None:
        self.cluster, self.pids, self.random = cluster, pids, random.Random(seed)
        self.kills: Counter[str] = Counter()

    def rage(self, until: Future[Any]) -> None:
        """Kill until it is enough, or the work has ended."""
        while self.kills.total() < KILLS and not until.done():
            time.sleep(self.random.uniform(0.1, 0.6))
            if self.kills["worker"] in (6, 13) and self.kills["node"] < self.kills["worker"] // 6:
                self.lose_a_node()
            else:
                self.kill_a_worker()

    def lose_a_node(self) -> None:
        node = self.random.choice([node for node in self.cluster.list_all_nodes() if not node.head])
        self.cluster.remove_node(node, allow_graceful=False)
        self.kills["node"] += 1
        self.cluster.add_node(num_cpus=2)

    def kill_a_worker(self) -> None:
        alive = [file for file in self.pids.iterdir() if Path(f"/proc/{file.name}").exists()]
        if alive:
            chosen = self.random.choice(alive)
            chosen.unlink()
            os.kill(int(chosen.name), signal.SIGKILL)
            self.kills["worker"] += 1


def test_twenty_kills_and_lost_nodes_lose_nothing_and_double_nothing(cluster: Cluster, tmp_path: Path) -> None:
    calm = planned(tmp_path / "calm")
    pids = tmp_path / "pids"
    pids.mkdir()
    local = RuntimeConfig(executor="local", threads=1)
    calm.begin()
    (expected,) = write_missing_shards([calm], partial(SlowWorker, calm.path, pids), local, lambda *_: None, 0.0)
    (pids / str(os.getpid())).unlink()

    writer, counts = planned(tmp_path / "stormy"), []
    writer.begin()
    chaos = Chaos(cluster, pids, seed=0)
    runtime = RuntimeConfig(workers=4, cpus_per_worker=1, placement="spread")
    factory = partial(SlowWorker, writer.path, pids)
    with ThreadPoolExecutor(1) as thread:  # nodes are added from the main thread alone
        job = thread.submit(write_missing_shards, [writer], factory, runtime, lambda done, *_: counts.append(done), 0.0)
        chaos.rage(until=job)
        (store,) = job.result()
    assert chaos.kills.total() == KILLS, chaos.kills
    assert chaos.kills["node"] >= 2
    assert store.content_id == expected.content_id
    assert open_store(store.path).content_id == expected.content_id
    assert counts == list(range(0, ROWS + 1, ROWS_PER_SHARD))  # each shard counted once
    names = sorted(file.relative_to(store.path).as_posix() for file in store.path.rglob("*"))
    assert names == sorted(file.relative_to(expected.path).as_posix() for file in expected.path.rglob("*"))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What every process of the cluster needs: this project, and a token of the cluster's own."""
    for name, value in {
        "PYTHONPATH": str(PROJECT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }.items():
        monkeypatch.setenv(name, value)
    # The tests' own embedded Ray, which is alone on loopback, would forbid these to join each other.
    monkeypatch.delenv(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, raising=False)


@pytest.fixture
def processes(environment: None, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """(number) -> starts Ray nodes as processes, each with a temporary folder of its own; returns the address."""
    started: list[subprocess.Popen[bytes]] = []

    def start(number: int) -> str:
        port = 26379 + os.getpid() % 2000
        # Ray takes 127.0.0.1 for "the address that others reach this machine by"; this one is loopback too.
        address = f"127.0.0.2:{port}"
        for node in range(number):
            where = [f"--address={address}"] if node else ["--head", f"--port={port}", "--include-dashboard=false"]
            # Unix sockets have short names only: not below tmp_path.
            folder = f"--temp-dir=/tmp/fae-node-{os.getpid()}-{node}"
            words = ["start", *where, folder, "--num-cpus=1", "--node-ip-address=127.0.0.2", "--block"]
            log = tmp_path / f"node-{node}.log"
            with log.open("wb") as out:
                command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *words]
                started.append(subprocess.Popen(command, stdout=out, stderr=out))
            wait_for_nodes(address, node + 1, log)
        return address

    yield start
    for process in reversed(started):
        process.terminate()
    for node, process in enumerate(started):
        process.wait(timeout=600)
        shutil.rmtree(f"/tmp/fae-node-{os.getpid()}-{node}", ignore_errors=True)


def wait_for_nodes(address: str, number: int, log: Path) -> None:
    """Until the cluster has so many living nodes; asked from another process, so that this one stays unconnected."""
    code = f"import ray; ray.init('{address}', log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
    deadline = time.monotonic() + 180
    while True:
        asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
        if asked.stdout.strip() == str(number):
            return
        assert time.monotonic() < deadline, (asked.stdout, asked.stderr, log.read_text())


def test_digits_over_three_nodes_as_processes(processes: Callable[..., str], tmp_path: Path) -> None:
    address = processes(3)
    on_cluster = ["--address", address, "--workers", "3", "--placement", "spread"]
    three, local = digits(tmp_path / "three", *on_cluster), digits(tmp_path / "local", "--executor", "local")
    assert three == local


def digits(root: Path, *where: str) -> list[str]:
    """Content ids of the features and latents of some digits."""
    common = ("--config", "digits", "--root", root)
    size = ("--set", "extract.input_size=56", "--rows-per-shard", "8", "--limit", "64")
    fae_pipe("extract", *common, *size, *where)
    fae_pipe("train-ae", *common, "--steps", "2", "--warmup-steps", "1", "--batch-size", "16")
    fae_pipe("encode", *common, "--rows-per-shard", "8", *where)
    stores = [open_store(next((root / kind).iterdir())) for kind in ("features", "latents")]
    return [store.content_id for store in stores]


def fae_pipe(*words: Any) -> None:
    code = "import sys; from pipeline.cli import main; sys.argv[0] = 'fae-pipe'; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
