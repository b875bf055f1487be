"""The same shards on Ray actors: attach to a cluster or start an embedded one that listens on loopback alone."""

import importlib.util
import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock

import ray
from ray.exceptions import RayActorError, RayTaskError

from jobs.config import RuntimeConfig
from jobs.devices import use_threads
from jobs.shards import IN_FLIGHT, TRIES, ShardFailed, ShardResult, ShardWorker, WorkerFactory

StartActor = Callable[[], ray.actor.ActorHandle]


class _Actor:
    """A process with one worker that runs two shards at a time, so that reading and writing overlap."""

    def __init__(self, factory: WorkerFactory, threads: int) -> None:
        use_threads(threads)
        self.factory, self.making = factory, Lock()
        self.worker: ShardWorker | None = None

    def run(self, shard: int) -> ShardResult:
        # Made here and not in __init__, whose errors Ray hands on as text: a person's mistake keeps its class.
        with self.making:
            self.worker = self.worker or self.factory()
        return self.worker.run(shard)


@contextmanager
def ray_session(runtime: RuntimeConfig) -> Iterator[None]:
    """Ray for the length of a command: an embedded one is shut down again, a cluster or the caller's own is left."""
    if ray.is_initialized():
        yield
        return
    address = runtime.address or os.environ.get("RAY_ADDRESS")
    if runtime.dashboard:
        _check_dashboard(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's default of 15 starves the actors, which are the command's whole work, beside anything else that runs.
    os.environ.setdefault("RAY_worker_niceness", "0")
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
    try:
        yield
    finally:
        ray.shutdown()


def _check_dashboard(address: str | None) -> None:
    if address:
        raise ValueError(f"runtime.dashboard: the cluster at {address} decides about its dashboard; leave this out")
    if importlib.util.find_spec("aiohttp_cors") is None:
        raise ValueError("runtime.dashboard: expected the packages of Ray's dashboard; run pip install 'ray[default]'")


def run_on_ray(factory: WorkerFactory, shards: list[int], runtime: RuntimeConfig) -> Iterator[ShardResult]:
    """Yield each shard's result; a lost worker is replaced and its shards are done again, up to TRIES times each."""
    with ray_session(runtime):
        threads = runtime.threads or max(1, (os.cpu_count() or 1) // runtime.workers)
        # No max_restarts: what is sent to an actor while Ray restarts it fails at once, a new actor takes it.
        maker = ray.remote(
            num_cpus=runtime.cpus_per_worker, num_gpus=runtime.gpus_per_worker, max_concurrency=IN_FLIGHT
        )(_Actor)
        start = partial(maker.remote, factory, threads)
        yield from _hand_out(start, min(runtime.workers, len(shards)), deque(shards))


def _hand_out(start: StartActor, count: int, waiting: deque[int]) -> Iterator[ShardResult]:
    actors = [start() for _ in range(count)]
    running: dict[ray.ObjectRef, tuple[int, int, ray.actor.ActorHandle]] = {}
    tries: Counter[int] = Counter()

    def give(slot: int) -> None:
        if waiting:
            shard = waiting.popleft()
            running[actors[slot].run.remote(shard)] = (shard, slot, actors[slot])

    for slot in [*range(count)] * IN_FLIGHT:
        give(slot)
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        shard, slot, actor = running.pop(done)
        try:
            result = ray.get(done)
        except RayTaskError as error:
            if isinstance(error.cause, ValueError):
                raise error.cause from None
            _again(shard, waiting, tries, error.cause)
        except RayActorError as error:
            if actors[slot] is actor:
                actors[slot] = start()
            _again(shard, waiting, tries, error)
        else:
            yield result
        give(slot)


def _again(shard: int, waiting: deque[int], tries: Counter[int], error: Exception) -> None:
    tries[shard] += 1
    if tries[shard] >= TRIES:
        raise ShardFailed(
            f"shard {shard} failed {TRIES} times; the finished shards are kept. "
            f"Last error: {type(error).__name__}: {error}"
        ) from error
    waiting.append(shard)
