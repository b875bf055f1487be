"""Joining a cluster of Ray: is it there, what do its hosts run, and this command's code for those that lack it."""

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cluster import facts as facts_module
from jobs.cluster.facts import CODE, HOST, PACKAGES, difference, host_facts, lacks_code
from jobs.cluster.ray_compat import cluster_addresses, has_local_node
from jobs.config import check_address_form

LOG = logging.getLogger(__name__)
CONNECT_SECONDS = 5.0
# The first process of Ray on a host reads its Python from a disk that may be shared by many.
NOTICE_SECONDS, ANSWER_SECONDS = 10.0, 60.0

Facts = dict[str, str | None]


def connect(**settings: Any) -> None:
    """`ray.init`, which puts a handler of SIGTERM in the place of a command's own."""
    kept = signal.getsignal(signal.SIGTERM)
    ray.init(**settings)
    if callable(kept) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, kept)


def join_cluster(address: str, **settings: Any) -> None:
    """Connect to a cluster.

    Args:
        address: as `ray.init` takes it.
        settings: more arguments of `ray.init`.

    Raises:
        ValueError: no cluster is there, or this host has no node of it.
    """
    check_address(address)
    try:
        connect(address=address, **settings)
    except ConnectionError as error:
        raise ValueError(_no_cluster(address, error)) from error


def compare_hosts(send_code: Callable[[str], None]) -> dict[str, str]:
    """What is different on a host, by its name; hosts with other code of this project, or none, are sent this one's."""
    expected, hosts = host_facts(), facts_of_hosts()
    lacking = sorted({str(facts[HOST]) for facts in hosts if lacks_code(expected, facts)})
    if lacking:
        send_code(", ".join(lacking))
    other = {str(facts[HOST]): difference(expected, {**facts, CODE: expected[CODE]}) for facts in hosts}
    return {host: reason for host, reason in other.items() if reason is not None}


def send_code(hosts: str, address: str, **settings: Any) -> None:
    """Connect anew, so that every host gets this process's code; what ran in the cluster until now is lost."""
    LOG.warning("%s: the code of fae-pipe there is another or absent; this command's is sent", hosts)
    ray.shutdown()
    connect(address=address, runtime_env={"py_modules": package_folders()}, **settings)


def check_address(address: str) -> None:
    """Whether a driver here can join the cluster at HOST:PORT; auto, local and URLs are left to Ray.

    Raises:
        ValueError: another form, nothing or another service answers there, or this host has no node of it.
    """
    try:
        check_address_form(address)
    except ValueError as error:
        raise ValueError(f"runtime.{error}") from None
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise ValueError(_no_cluster(address, error)) from error
    if not has_local_node():
        raise ValueError(
            f"runtime.address: expected a node of the cluster {address} on this host, {socket.gethostname()}; received "
            f"none; run here: ray start --address={address}, or give the command on a host that has one"
        )
    nodes = cluster_addresses()
    if nodes and port not in {node.rpartition(":")[2] for node in nodes}:
        raise ValueError(
            f"runtime.address: expected the Ray cluster of this host's node, at {' or '.join(sorted(nodes))}; received "
            f"{address}, where another service answers; correct the address"
        )


def _no_cluster(address: str, error: Exception) -> str:
    port = address.rpartition(":")[2]
    start = f"ray start --head --port={port}" if port.isdecimal() else "ray start --head"
    return (
        f"runtime.address: expected a Ray cluster at {address}; received {error}; start one there ({start}), or "
        "correct the address"
    )


def facts_of_hosts() -> list[Facts]:
    """`host_facts()` of every node that has processors and answers within ANSWER_SECONDS; a silent one is named."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    with by_value():
        asked = {_on(node["NodeID"]).remote(): node["NodeManagerHostname"] for node in nodes}
    answered, silent = _wait(list(asked), NOTICE_SECONDS)
    if silent:
        LOG.warning("%s: no answer yet; waiting for up to %d seconds", _names(asked, silent), ANSWER_SECONDS)
        answered, silent = _wait(list(asked), ANSWER_SECONDS - NOTICE_SECONDS)
    if silent:
        LOG.warning("%s: no answer within %d seconds; work begins without", _names(asked, silent), ANSWER_SECONDS)
    facts = []
    for call in answered:
        try:
            facts.append(ray.get(call))
        except ray.exceptions.RayError as error:
            LOG.warning("%s: %s", asked[call], error)
    return facts


def _wait(calls: list[Any], seconds: float) -> tuple[list[Any], list[Any]]:
    return ray.wait(calls, num_returns=len(calls), timeout=seconds) if calls else ([], [])


def _names(hosts: dict[Any, str], calls: list[Any]) -> str:
    return ", ".join(sorted({hosts[call] for call in calls}))


def alive_hosts() -> set[str]:
    """The names of the cluster's hosts."""
    return {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}


@contextmanager
def by_value(*modules: ModuleType) -> Iterator[None]:
    """Let `host_facts`, and what is in further modules, be sent to hosts that may lack this project."""
    sent = (facts_module, *modules)
    for module in sent:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in sent:
            cloudpickle.unregister_pickle_by_value(module)


def package_folders() -> list[str]:
    """The folders of the packages that workers import."""
    specs = [find_spec(name) for name in PACKAGES]
    return [str(Path(spec.origin).parent) for spec in specs if spec is not None and spec.origin is not None]


def _on(node: str) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=strategy)(host_facts)
