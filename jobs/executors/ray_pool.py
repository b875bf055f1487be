"""The same shards on Ray actors: attach to a cluster or start an embedded one that listens on loopback alone."""

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from threading import Lock
from typing import Any, TypeVar

import ray

from jobs.config import RuntimeConfig
from jobs.executors.devices import use_threads
from jobs.executors.dispatch import dispatch_shards
from jobs.executors.ray_compat import SESSION_ENVIRONMENT, check_ray_version, environment_defaults, loopback_only
from jobs.executors.worker import IN_FLIGHT, HostError, ShardResult, ShardWorker, WorkerFactory, WorkerStartError

Result = TypeVar("Result")


class _Actor:
    """A process with one worker that runs two shards at a time, so that reading and writing overlap."""

    def __init__(self, factory: WorkerFactory, threads: int) -> None:
        use_threads(threads)
        self.factory, self.making = factory, Lock()
        self.worker: ShardWorker | None = None

    def run(self, shard: int) -> ShardResult:
        # Made here and not in __init__, whose errors Ray passes on as text: so a user's error keeps its class.
        with self.making:
            try:
                self.worker = self.worker or self.factory()
            except (HostError, OSError, ValueError) as error:
                raise WorkerStartError(error) from error
        return self.worker.run(shard)


@contextmanager
def ray_session(runtime: RuntimeConfig) -> Iterator[None]:
    """Ray for the length of a command: an embedded one is shut down again, a cluster or the caller's own is left.

    Raises:
        ValueError: more GPUs than this machine has, without a cluster; a dashboard that cannot be had.
    """
    if ray.is_initialized():
        yield
        return
    check_ray_version()
    address = cluster_address(runtime)
    if runtime.dashboard:
        _check_dashboard(address)
    with environment_defaults(SESSION_ENVIRONMENT), nullcontext() if address else loopback_only():
        _start(address, runtime)
        try:
            if not address:
                _check_gpus(runtime)
            yield
        finally:
            ray.shutdown()


def _start(address: str | None, runtime: RuntimeConfig) -> None:
    embedded = {} if address else {"num_cpus": max(os.cpu_count() or 1, int(runtime.workers * runtime.cpus_per_worker))}
    ray.init(
        # Without an address Ray would join whatever cluster somebody started on this machine.
        address=address or "local",
        include_dashboard=None if address else runtime.dashboard,
        _node_ip_address=None if address else "127.0.0.1",
        logging_level=logging.ERROR,
        log_to_driver=False,
        **embedded,
    )


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


def run_on_ray(factory: WorkerFactory, shards: list[int], runtime: RuntimeConfig) -> Iterator[ShardResult]:
    """Yield each shard's result; see `dispatch_shards` for what becomes of failures and lost workers."""
    with ray_session(runtime):
        # No max_restarts: what is sent to an actor while Ray restarts it fails at once, a new actor takes it.
        maker = ray.remote(
            num_cpus=runtime.cpus_per_worker,
            num_gpus=runtime.gpus_per_worker,
            max_concurrency=IN_FLIGHT,
            scheduling_strategy={"pack": "DEFAULT", "spread": "SPREAD"}[runtime.placement],
        )(_Actor)
        start = partial(maker.remote, factory, worker_threads(runtime, runtime.workers))
        yield from dispatch_shards(start, min(runtime.workers, len(shards)), shards)


def call_on_ray(function: Callable[..., Result], arguments: tuple[Any, ...], runtime: RuntimeConfig) -> Result:
    """Call a function in a task with a worker's resources."""
    with ray_session(runtime):
        task = ray.remote(num_cpus=runtime.cpus_per_worker, num_gpus=runtime.gpus_per_worker)(function)
        answer: Result = ray.get(task.remote(*arguments))
        return answer


def worker_threads(runtime: RuntimeConfig, workers: int) -> int:
    """Threads of one of `workers`: on a cluster the processors reserved for it, else its share of this machine's."""
    if runtime.threads:
        return runtime.threads
    if cluster_address(runtime):
        return max(1, int(runtime.cpus_per_worker))
    return max(1, (os.cpu_count() or 1) // workers)


def cluster_address(runtime: RuntimeConfig) -> str | None:
    """The cluster to join, None for an embedded Ray."""
    return runtime.address or os.environ.get("RAY_ADDRESS")
