"""Sessions of Ray: the dashboard is started only when it can be, and a mistake says what to do."""

import importlib.util
import ipaddress
import os
import re
import socket
import threading
import tomllib
from pathlib import Path

import pytest
import ray

from jobs.cluster import ray_compat
from jobs.cluster.head import HeadLostError
from jobs.cluster.ray_compat import FIRST, UNTESTED, check_ray_version, environment_defaults, worker_loss
from jobs.config.stages import RuntimeConfig
from jobs.executors import ray_pool
from jobs.executors.dispatch import dispatch_shards
from jobs.executors.ray_pool import ray_session, worker_threads


@pytest.fixture
def no_ray(monkeypatch):
    """Ray as if none were running, and every start an error."""

    def refuse(**settings):
        raise AssertionError(f"Ray was started with {settings}")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", refuse)


def enter(runtime):
    with ray_session(runtime):
        pass


def test_a_clusters_dashboard_is_its_own_affair(no_ray):
    with pytest.raises(
        ValueError, match=r"runtime.dashboard: the cluster at 10.0.0.7:6379 decides about its dashboard"
    ):
        enter(RuntimeConfig(dashboard=True, address="10.0.0.7:6379"))


def test_a_dashboard_whose_packages_are_missing_names_what_to_install(no_ray, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'ray\[default\]'"):
        enter(RuntimeConfig(dashboard=True))


@pytest.mark.parametrize(
    ("workers", "each", "enough"), [(2, 1.0, True), (4, 0.5, True), (3, 1.0, False), (1, 4.0, False)]
)
def test_the_embedded_ray_is_asked_for_no_more_gpus_than_there_are(no_ray, monkeypatch, workers, each, enough):
    ended = []
    monkeypatch.setattr("ray.init", lambda **given: None)
    monkeypatch.setattr("ray.shutdown", lambda: ended.append(True))
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0})
    runtime = RuntimeConfig(workers=workers, gpus_per_worker=each)
    if enough:
        enter(runtime)
    else:
        with pytest.raises(ValueError, match=rf"the GPUs of this machine, 2; received {workers} workers of {each:g};"):
            enter(runtime)
    assert ended == [True]


@pytest.mark.parametrize("dashboard", [True, False])
def test_the_embedded_ray_has_a_dashboard_when_asked_and_is_on_loopback(no_ray, monkeypatch, dashboard):
    settings = {}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr("ray.init", lambda **given: settings.update(given))
    monkeypatch.setattr("ray.shutdown", lambda: None)
    enter(RuntimeConfig(dashboard=dashboard))
    assert settings["include_dashboard"] is dashboard
    assert settings["_node_ip_address"] == "127.0.0.1"
    assert settings["address"] == "local"
    assert settings.get("dashboard_host", "127.0.0.1") == "127.0.0.1"


def listening_at(processes):
    """The addresses at which these processes listen, by Linux's own tables."""
    sockets = {}
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            words = line.split()
            words_of_address = [bytes.fromhex(words[1][k : k + 8])[::-1] for k in range(0, words[1].index(":"), 8)]
            if words[3] == "0A":
                sockets[f"socket:[{words[9]}]"] = socket.inet_ntop(family, b"".join(words_of_address))
    found = set()
    for process in processes:
        for file in Path(f"/proc/{process}/fd").glob("*"):
            try:
                found.add(sockets.get(os.readlink(file)))
            except OSError:
                continue  # closed meanwhile
    return {ipaddress.ip_address(address) for address in found - {None}}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the tables of sockets are Linux's")
def test_no_process_of_the_embedded_ray_listens_beyond_loopback(ray_cluster, descendants):
    @ray.remote
    def address():
        return ray.util.get_node_ip_address()

    assert ray.get(address.remote()) == "127.0.0.1"
    found = listening_at([os.getpid(), *descendants()])
    assert found
    for one in found:
        assert (getattr(one, "ipv4_mapped", None) or one).is_loopback, found


def test_the_environment_is_as_it_was(monkeypatch):
    monkeypatch.setenv("FAE_SET", "theirs")
    monkeypatch.delenv("FAE_ABSENT", raising=False)
    with environment_defaults({"FAE_SET": "ours", "FAE_ABSENT": "ours"}):
        assert (os.environ["FAE_SET"], os.environ["FAE_ABSENT"]) == ("theirs", "ours")
    assert os.environ["FAE_SET"] == "theirs"
    assert "FAE_ABSENT" not in os.environ


@pytest.mark.parametrize("received", ["2.54.1", "2.61.0", "3.0.0rc1"])
def test_a_ray_that_was_not_tested_is_refused(no_ray, monkeypatch, received):
    monkeypatch.setattr("jobs.cluster.ray_compat.version", lambda name: received)
    with pytest.raises(ValueError, match=rf"expected version >=2.55,<2.61; received {received}; run pip install"):
        enter(RuntimeConfig())


def test_the_installed_ray_is_one_that_was_tested_and_the_bounds_are_the_packages_own():
    check_ray_version()
    bounds = f">={FIRST[0]}.{FIRST[1]},<{UNTESTED[0]}.{UNTESTED[1]}"
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert f"ray[train]{bounds}" in project["dependencies"]


def test_private_parts_of_ray_are_used_in_one_file_alone():
    private = re.compile(r"ray\._private|ray\.train\.v2|_base_exc|_create_default_callbacks")
    files = [file for folder in ("jobs", "pipeline") for file in (Path(__file__).parents[3] / folder).rglob("*.py")]
    assert [file.name for file in files if private.search(file.read_text())] == ["ray_compat.py"]


def test_a_worker_that_memory_cost_is_told_in_a_sentence():
    page = "Task was killed due to the node running low on memory.\n" * 40
    lost = ray.exceptions.RayActorError(error_msg="The actor died unexpectedly")
    assert worker_loss(lost) is lost
    for error in (
        ray.exceptions.OutOfMemoryError(page),
        ray.exceptions.RayActorError(error_msg=f"ray.exceptions.OutOfMemoryError: {page}"),
    ):
        loss = worker_loss(error)
        assert "\n" not in str(loss)
        assert "ran out of memory; take fewer workers on a node, a smaller batch_size" in str(loss)


def test_a_shard_whose_worker_ran_out_of_memory_is_tried_again_and_named(monkeypatch):
    """Ray raises this one for actors too, and it is no RayActorError."""

    def get(call):
        raise ray.exceptions.OutOfMemoryError("forty lines")

    class Actor:
        class run:
            remote = staticmethod(lambda shard: object())

        class facts:
            remote = staticmethod(object)

    monkeypatch.setattr(ray, "wait", lambda calls, **settings: (calls[:1], calls[1:]))
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    with pytest.raises(RuntimeError, match="Ray ended a worker because its node ran out of memory"):
        list(dispatch_shards(Actor, 1, [0]))


def test_where_nothing_listens_the_address_is_refused_at_once(no_ray):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(
        ValueError, match=rf"expected a Ray cluster at 127.0.0.1:{port}; .*ray start --head --port={port}"
    ):
        enter(RuntimeConfig(address=f"127.0.0.1:{port}"))


def test_a_host_without_a_node_is_refused_at_once_and_told_what_to_start(no_ray, monkeypatch):
    monkeypatch.setattr("jobs.cluster.joining.has_local_node", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        with pytest.raises(ValueError, match=rf"on this host, .*run here: ray start --address={address}"):
            enter(RuntimeConfig(address=address))


def test_the_port_of_another_service_is_refused_at_once(no_ray, monkeypatch):
    monkeypatch.setattr("jobs.cluster.joining.has_local_node", lambda: True)
    monkeypatch.setattr("jobs.cluster.joining.cluster_addresses", lambda: {"10.0.0.7:1"})
    with socket.create_server(("127.0.0.1", 0)) as service:
        address = f"127.0.0.1:{service.getsockname()[1]}"
        with pytest.raises(ValueError, match=rf"node, at 10.0.0.7:1; received {address}, where another service"):
            enter(RuntimeConfig(address=address))


def test_a_cluster_that_ray_does_not_reach_is_named(no_ray, monkeypatch):
    def fail(**settings):
        raise ConnectionError("404")

    monkeypatch.setattr("ray.init", fail)
    with pytest.raises(ValueError, match=r"expected a Ray cluster at auto; received 404; start one"):
        enter(RuntimeConfig(address="auto"))


@pytest.mark.parametrize("theirs", [{}, {"RAY_AUTH_TOKEN": "theirs"}, {"RAY_AUTH_MODE": "disabled"}])
def test_an_embedded_ray_has_a_token_of_this_process_unless_one_is_given(no_ray, monkeypatch, theirs):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    seen = []
    monkeypatch.setattr("ray.shutdown", lambda: None)

    def init(**given):
        seen.append(os.environ.get("RAY_AUTH_TOKEN"))
        monkeypatch.setenv("RAY_AUTH_MODE", os.environ.get("RAY_AUTH_MODE", "token"))  # as Ray does

    monkeypatch.setattr("ray.init", init)
    enter(RuntimeConfig())
    enter(RuntimeConfig())
    assert seen[0] == seen[1]
    assert (len(seen[0] or "") == 64) == (not theirs)
    if not theirs:
        assert not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} & os.environ.keys()


@pytest.mark.parametrize("answers", [True, False])
def test_a_cluster_without_a_head_is_not_waited_for_when_it_is_left(no_ray, monkeypatch, answers):
    """`ray.shutdown` waits for the head, and is called again as the process ends."""
    left, kept, unregistered = threading.Event(), threading.Event(), []
    monkeypatch.setattr(ray_compat, "LEAVE_SECONDS", 60.0 if answers else 0.01)
    monkeypatch.setattr(ray_compat.atexit, "unregister", unregistered.append)
    monkeypatch.setattr("ray.init", lambda **given: None)
    monkeypatch.setattr("jobs.executors.ray_pool.head_address", lambda address: "127.0.0.1:1")

    def shutdown():
        assert answers or kept.wait(60)
        left.set()

    monkeypatch.setattr("ray.shutdown", shutdown)
    with pytest.raises(HeadLostError), ray_session(RuntimeConfig(address="auto")):
        raise HeadLostError
    assert left.is_set() == answers
    assert len(unregistered) == (not answers)
    kept.set()
    assert left.wait(60)


def test_workers_share_the_processors_that_this_process_may_use(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_pool, "available_processors", lambda: 12)  # of a machine that may have more
    assert worker_threads(RuntimeConfig(), 3) == 4
    assert worker_threads(RuntimeConfig(), 100) == 1
    assert worker_threads(RuntimeConfig(threads=7), 3) == 7
    assert worker_threads(RuntimeConfig(address="10.0.0.7:6379", cpus_per_worker=2), 3) == 2
