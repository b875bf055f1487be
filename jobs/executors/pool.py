"""Run shards on workers, in this process or on Ray, until none is missing."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

from jobs.config import RuntimeConfig
from jobs.executors.devices import use_threads
from jobs.executors.worker import IN_FLIGHT, TRIES, HostError, ShardFailed, ShardResult, ShardWorker, WorkerFactory

Result = TypeVar("Result")


def run_shards(
    factory: WorkerFactory, shards: list[int], runtime: RuntimeConfig, on_result: Callable[[ShardResult], None]
) -> None:
    """Run every shard on the executor that `runtime` names and pass each result to `on_result` as it comes.

    Raises:
        ShardFailed: a shard failed on every try.
        ValueError: a worker met a user's mistake (it is not retried).
    """
    if not shards:
        return
    if runtime.executor == "local":
        results = _run_local(factory, shards, runtime)
    else:
        from jobs.executors.ray_pool import run_on_ray  # Ray is imported only where it runs

        results = run_on_ray(factory, shards, runtime)
    for result in results:
        on_result(result)


def _run_local(factory: WorkerFactory, shards: list[int], runtime: RuntimeConfig) -> Iterator[ShardResult]:
    use_threads(runtime.threads)
    worker = factory()
    waiting, running = deque(shards), set[Future[ShardResult]]()
    run = partial(_run_with_tries, worker)
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="shard") as threads:
        try:
            while waiting or running:
                while waiting and len(running) < IN_FLIGHT:
                    running.add(threads.submit(run, waiting.popleft()))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except (KeyboardInterrupt, GeneratorExit):
            logging.getLogger(__name__).warning(
                "stopping: the shards in work are finished first; Ctrl-C again ends this at once"
            )
            raise
        finally:
            for future in running:
                future.cancel()


def _run_with_tries(worker: ShardWorker, shard: int) -> ShardResult:
    """One shard; what this host could not read is tried again, since disks and mounts may come back.

    Raises:
        ShardFailed: it failed on every try.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return worker.run(shard)
        except HostError as error:
            if attempt == TRIES:
                raise ShardFailed(
                    f"shard {shard} failed {TRIES} times; the finished shards are kept. Last error: {error}"
                ) from error
    raise AssertionError("the last try returns or raises")


def call_on_worker(function: Callable[..., Result], arguments: tuple[Any, ...], runtime: RuntimeConfig) -> Result:
    """Call a function where shards will be done: in this process, or in a Ray task with a worker's resources."""
    if runtime.executor == "local":
        return function(*arguments)
    from jobs.executors.ray_pool import call_on_ray

    return call_on_ray(function, arguments, runtime)
