"""The same shards on Ray actors: attach to a cluster or start an embedded one that listens on loopback alone."""

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import ray

from jobs.cluster import (
    SESSION_ENVIRONMENT,
    HeadLostError,
    HeadWatch,
    by_value,
    check_ray_version,
    connect,
    environment_defaults,
    head_address,
    join_cluster,
    leave_lost_cluster,
    loopback_only,
    own_token,
    send_code,
)
from jobs.config import RuntimeConfig
from jobs.executors import ray_actor
from jobs.executors.dispatch import OtherCodeError, dispatch_shards
from jobs.executors.ray_actor import RayActor
from jobs.executors.worker import IN_FLIGHT, ShardResult, WorkerFactory
from stores.backends import available_processors

Result = TypeVar("Result")
QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}


@dataclass(frozen=True)
class RaySession:
    """Ray for the length of a command.

    Attributes:
        head: Of a cluster; None of an embedded Ray.
        send_code: Connects anew to a cluster whose hosts, named by the argument, lack this process's code; None where
            there is no cluster.
    """

    head: HeadWatch | None = None
    send_code: Callable[[str], None] | None = None


@contextmanager
def ray_session(runtime: RuntimeConfig) -> Iterator[RaySession]:
    """Start an embedded Ray, which is shut down again, or join a cluster; the caller's own Ray is left as it is.

    Raises:
        ValueError: more GPUs than this machine has, without a cluster; a dashboard that cannot be had; no cluster at
            the address.
    """
    if ray.is_initialized():
        yield RaySession()
        return
    check_ray_version()
    address = cluster_address(runtime)
    if runtime.dashboard:
        _check_dashboard(address)
    leave: Callable[[], object] = ray.shutdown
    with environment_defaults(SESSION_ENVIRONMENT), nullcontext() if address else _alone():
        try:
            if address:
                join_cluster(address, **QUIET)
                with HeadWatch(head_address(address)) as head:
                    yield RaySession(head, partial(send_code, address=address, **QUIET))
                    if not head.answers:  # and the work was done all the same
                        leave = leave_lost_cluster
            else:
                _start(runtime)
                yield RaySession()
        except HeadLostError:
            leave = leave_lost_cluster
            raise
        finally:
            leave()


@contextmanager
def _alone() -> Iterator[None]:
    with loopback_only(), own_token():
        yield


def _start(runtime: RuntimeConfig) -> None:
    connect(
        # Without an address Ray would join whatever cluster somebody started on this machine.
        address="local",
        include_dashboard=runtime.dashboard,
        _node_ip_address="127.0.0.1",
        num_cpus=max(available_processors(), int(runtime.workers * runtime.cpus_per_worker)),
        **QUIET,
    )
    _check_gpus(runtime)


def _check_gpus(runtime: RuntimeConfig) -> None:
    """An embedded Ray gets no more GPUs than it has: a worker that lacks one would be waited for without end."""
    wanted = runtime.workers * runtime.gpus_per_worker
    found = ray.cluster_resources().get("GPU", 0.0) if wanted else 0.0
    if wanted > found:
        raise ValueError(
            f"runtime.workers, gpus_per_worker: expected at most the GPUs of this machine, {found:g}; received "
            f"{runtime.workers} workers of {runtime.gpus_per_worker:g}; reduce them (--gpus), or join a cluster by "
            "runtime.address"
        )


def _check_dashboard(address: str | None) -> None:
    if address:
        raise ValueError(f"runtime.dashboard: the cluster at {address} decides about its dashboard; leave this out")
    if importlib.util.find_spec("aiohttp_cors") is None:
        raise ValueError("runtime.dashboard: expected the packages of Ray's dashboard; run pip install 'ray[default]'")


def run_on_ray(
    factory: WorkerFactory, shards: list[int], runtime: RuntimeConfig, actors: int | None = None
) -> Iterator[ShardResult]:
    """Yield each shard's result; see `dispatch_shards` for what becomes of failures and lost workers.

    `actors` is their number, by default the workers', as far as there are shards.
    """
    with ray_session(runtime) as session, by_value(ray_actor):
        yield from _run(session, factory, shards, runtime, actors or min(runtime.workers, len(shards)))


def _run(
    session: RaySession, factory: WorkerFactory, shards: list[int], runtime: RuntimeConfig, actors: int
) -> Iterator[ShardResult]:
    """The same in a session; what hosts run is compared by the actors that then do the work, so it costs no process."""
    done = set()
    try:
        for result in _dispatch(session, factory, shards, runtime, actors):
            done.add(result["shard"])
            yield result
    except OtherCodeError as error:
        assert session.send_code is not None
        session.send_code(error.host)
        left = [shard for shard in shards if shard not in done]
        yield from _dispatch(replace(session, send_code=None), factory, left, runtime, actors)


def _dispatch(
    session: RaySession, factory: WorkerFactory, shards: list[int], runtime: RuntimeConfig, actors: int
) -> Iterator[ShardResult]:
    # No max_restarts: what is sent to an actor while Ray restarts it fails at once, a new actor takes it.
    maker = ray.remote(
        num_cpus=runtime.cpus_per_worker,
        num_gpus=runtime.gpus_per_worker,
        max_concurrency=IN_FLIGHT,
        scheduling_strategy={"pack": "DEFAULT", "spread": "SPREAD"}[runtime.placement],
    )(RayActor)
    start = partial(maker.remote, [ray.put(factory)], worker_threads(runtime, runtime.workers))
    yield from dispatch_shards(start, actors, shards, session.head, session.send_code is not None)


class _Call:
    """A function's call as a shard of its own."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments

    def run(self, shard: int) -> ShardResult:
        return {"shard": shard, "answer": self.function(*self.arguments)}


def call_on_ray(function: Callable[..., Result], arguments: tuple[Any, ...], runtime: RuntimeConfig) -> Result:
    """Call a function in an actor with a worker's resources."""
    # As many actors as there will be, which cost little before their first work: one's host may be unfit.
    (result,) = run_on_ray(partial(_Call, function, arguments), [0], runtime, runtime.workers)
    answer: Result = result["answer"]
    return answer


def worker_threads(runtime: RuntimeConfig, workers: int) -> int:
    """Threads of one of `workers`: on a cluster the processors reserved for it, else its share of this machine's."""
    if runtime.threads:
        return runtime.threads
    if cluster_address(runtime):
        return max(1, int(runtime.cpus_per_worker))
    return max(1, available_processors() // workers)


def cluster_address(runtime: RuntimeConfig) -> str | None:
    """The cluster to join, None for an embedded Ray."""
    return runtime.address or os.environ.get("RAY_ADDRESS")
