"""Actors that do shards: started, replaced when they are lost, given work once they live, stopped at the end."""

import logging
import time
from collections.abc import Callable, Iterator

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from jobs.executors.ray_compat import worker_loss
from jobs.executors.shard_queue import LOSSES, ShardQueue
from jobs.executors.worker import ShardResult, WorkerStartError

StartActor = Callable[[], ray.actor.ActorHandle]

LOOK_SECONDS = 1.0  # how often stragglers are looked for while nothing comes
PATIENCE_SECONDS = 30.0
STOP_SECONDS = 20.0


def dispatch_shards(start: StartActor, count: int, shards: list[int]) -> Iterator[ShardResult]:
    """Yield each shard's result once.

    Work begins with the actors that live; others wait for a node with room. A lost actor is replaced.

    Raises:
        ShardFailed: a shard failed on every try.
        HostError: no host can begin: it does not see the data, the root or the weights.
        ValueError: a worker met a user's mistake.
    """
    pool, queue = _ActorPool(start, count), ShardQueue(shards)
    try:
        while not queue.finished:
            for slot, shard in queue.assign(sorted(pool.alive)):
                pool.give(slot, shard)
            yield from pool.results(queue)
    finally:
        pool.stop()


class _ActorPool:
    """Actors by slot; `calls` are their pending calls: a shard, or None for the call that shows that they live."""

    def __init__(self, start: StartActor, count: int) -> None:
        self.start = start
        self.actors: list[ray.actor.ActorHandle] = [None] * count
        self.alive: set[int] = set()
        self.calls: dict[ray.ObjectRef, tuple[int, ray.actor.ActorHandle, int | None]] = {}
        self.failed_starts = 0
        self.began, self.warned = time.monotonic(), False
        for slot in range(count):
            self._fill(slot)

    def give(self, slot: int, shard: int) -> None:
        actor = self.actors[slot]
        self.calls[actor.run.remote(shard)] = (slot, actor, shard)

    def results(self, queue: ShardQueue) -> Iterator[ShardResult]:
        """Wait a little for any call to end and note what became of it."""
        ended, _ = ray.wait(list(self.calls), num_returns=1, timeout=LOOK_SECONDS)
        if not self.alive:
            self._warn()
        for call in ended:
            slot, actor, shard = self.calls.pop(call)
            try:
                result = ray.get(call)
            except RayTaskError as error:
                if isinstance(error.cause, WorkerStartError):
                    self._retire(slot, actor, error.cause)
                    if shard is not None:
                        queue.release(shard, slot)
                    continue
                if isinstance(error.cause, ValueError) or shard is None:
                    raise error.cause from None
                queue.fail(shard, slot, error.cause)
            except (RayActorError, OutOfMemoryError) as error:
                loss = worker_loss(error)
                self._lost(slot, actor, born=shard is not None, error=loss)
                if shard is not None:
                    queue.lose(shard, slot, loss)
            else:
                if shard is None:
                    self.alive.add(slot)
                elif queue.finish(shard, slot):
                    yield {**result, "worker": str(slot)}

    def stop(self) -> None:
        """End every actor at once and wait until it is gone, so that nobody writes any more."""
        for actor in self.actors:
            if actor is not None:
                ray.kill(actor)
        if self.calls:
            ray.wait(list(self.calls), num_returns=len(self.calls), timeout=STOP_SECONDS)

    def _fill(self, slot: int) -> None:
        actor = self.actors[slot] = self.start()
        self.calls[actor.__ray_ready__.remote()] = (slot, actor, None)

    def _lost(self, slot: int, actor: ray.actor.ActorHandle, born: bool, error: Exception) -> None:
        self.failed_starts = 0 if born else self.failed_starts + 1
        if self.failed_starts >= LOSSES:
            raise RuntimeError(f"{LOSSES} workers in a row ended before they began: {error}") from error
        if self.actors[slot] is actor:
            self.alive.discard(slot)
            self._fill(slot)

    def _retire(self, slot: int, actor: ray.actor.ActorHandle, error: WorkerStartError) -> None:
        """Do without an actor whose host cannot do the work; the others take its shards.

        Raises:
            HostError, ValueError, OSError: no actor is left.
        """
        if self.actors[slot] is not actor:
            return
        self.actors[slot] = None
        self.alive.discard(slot)
        ray.kill(actor)
        if not any(self.actors):
            raise error.error from None
        logging.getLogger(__name__).warning("%s; its shards go to other workers", error)

    def _warn(self) -> None:
        if not self.warned and time.monotonic() - self.began > PATIENCE_SECONDS:
            self.warned = True
            logging.getLogger(__name__).warning(
                "no worker has started for %d seconds: the cluster may lack the processors or GPUs that one needs "
                "(--cpus-per-worker, --gpus-per-worker); work begins as soon as there is room",
                PATIENCE_SECONDS,
            )
