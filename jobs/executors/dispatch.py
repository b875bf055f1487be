"""Actors that do shards: started, replaced when they are lost, given work once they live, stopped at the end."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError, RuntimeEnvSetupError

from jobs.cluster import (
    HOST,
    NODE,
    HeadLostError,
    HeadWatch,
    alive_hosts,
    describe_failure,
    difference,
    host_facts,
    lacks_code,
    worker_loss,
)
from jobs.executors.shard_queue import LOSSES, ShardQueue
from jobs.executors.worker import TRIES, HostError, ShardResult, WorkerStartError


class OtherCodeError(RuntimeError):
    """A host has other code of this project than this process, or none."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host


StartActor = Callable[[], ray.actor.ActorHandle]

LOG = logging.getLogger(__name__)
LOOK_SECONDS = 1.0  # how often stragglers are looked for while nothing comes
PATIENCE_SECONDS = 30.0
STOP_SECONDS = 20.0
DELAY_SECONDS = 4.0  # if it is the head that was lost, nobody must be asked; that is known by then
SUSPECT_SECONDS = 60.0  # Ray needs up to so long to know that a host is gone


def dispatch_shards(
    start: StartActor,
    count: int,
    shards: list[int],
    head: HeadWatch | None = None,
    sends_code: bool = False,
) -> Iterator[ShardResult]:
    """Yield each shard's result once.

    Work begins with the actors that live; others wait for a node with room. A lost actor is replaced; a host where
    nothing succeeds is left out.

    Args:
        start: starts a `RayActor`.
        count: actors to have.
        shards: what they do.
        head: of a cluster.
        sends_code: whether hosts that lack this process's code can be sent it; else they are left out.

    Raises:
        HeadLostError: the cluster's head no longer answers.
        OtherCodeError: a host lacks this process's code, and can be sent it.
        ShardFailed: a shard failed on every try.
        RuntimeError: workers end before they begin, and no other works.
        HostError: no host can begin: it runs other versions, or does not see the data, the root or the weights.
        ValueError: a worker met a user's mistake.
    """
    queue = ShardQueue(shards)
    pool = _ActorPool(start, count, queue, head, sends_code)
    try:
        while not queue.finished:
            if head is not None:
                head.check()
            for slot, shard in queue.assign(sorted(pool.alive)):
                pool.give(slot, shard)
            yield from pool.results()
            pool.name_lost_hosts()
    except HeadLostError:
        pool.abandon()
        raise
    finally:
        pool.stop()


class _ActorPool:
    """Actors by slot; `calls` are their pending calls: a shard, or None for the call that shows that they live."""

    def __init__(
        self, start: StartActor, count: int, queue: ShardQueue, head: HeadWatch | None, sends_code: bool
    ) -> None:
        self.start, self.queue, self.head, self.sends_code = start, queue, head, sends_code
        self.expected = host_facts()
        self.actors: list[ray.actor.ActorHandle] = [None] * count
        self.alive: set[int] = set()
        self.calls: dict[ray.ObjectRef, tuple[int, ray.actor.ActorHandle, int | None]] = {}
        self.failed_starts = 0
        self.failures_in_a_row: Counter[str] = Counter()  # of each host
        self.lost_hosts: set[str] = set()
        self.suspects: dict[str, float] = {}  # hosts whose worker was lost, and until when they are looked at
        self.next_look = 0.0
        self.started: dict[int, float] = {}  # when the actor of each slot was asked for
        self.warned = False
        for slot in range(count):
            self._fill(slot)

    @property
    def active_hosts(self) -> set[str]:
        """The hosts that have an actor with work to do: neither lost nor left out."""
        return {self.queue.hosts[slot] for slot in self.alive}

    def give(self, slot: int, shard: int) -> None:
        actor = self.actors[slot]
        self.calls[actor.run.remote(shard)] = (slot, actor, shard)

    def results(self) -> Iterator[ShardResult]:
        """Wait a little for any call to end and note what became of it."""
        ended, _ = ray.wait(list(self.calls), num_returns=1, timeout=LOOK_SECONDS)
        self._warn()
        for call in ended:
            slot, actor, shard = self.calls.pop(call)
            try:
                result = ray.get(call)
            except RayTaskError as error:
                self._failed(slot, actor, shard, error.cause)
            except (RayActorError, OutOfMemoryError, RuntimeEnvSetupError) as error:
                loss = worker_loss(error)
                self._say_lost(slot, actor, error)
                self._lost(slot, actor, born=shard is not None, error=loss)
                if shard is not None:
                    self.queue.lose(shard, slot, loss)
            else:
                if shard is None:
                    self._admit(slot, actor, result)
                    continue
                self.failures_in_a_row[self.queue.hosts[slot]] = 0
                if self.queue.finish(shard, slot):
                    yield {**result, "worker": str(slot), "active_hosts": self.active_hosts}

    def abandon(self) -> None:
        """Leave the actors alone, which nobody can end without the cluster's head; Ray ends them in a minute."""
        self.actors, self.calls = [], {}

    def stop(self) -> None:
        """End every actor at once and wait until it is gone, so that nobody writes any more."""
        if self.head is not None and not self.head.answers:
            self.abandon()
        for actor in self.actors:
            if actor is not None:
                ray.kill(actor)
        if self.calls:
            ray.wait(list(self.calls), num_returns=len(self.calls), timeout=STOP_SECONDS)

    def _fill(self, slot: int) -> None:
        actor = self.actors[slot] = self.start()
        self.started[slot] = time.monotonic()
        self.calls[actor.facts.remote()] = (slot, actor, None)

    def _admit(self, slot: int, actor: ray.actor.ActorHandle, facts: dict[str, str | None]) -> None:
        """Give an actor work from now on, when its host runs what the driver runs."""
        host = str(facts[HOST])
        if self.sends_code and lacks_code(self.expected, facts):
            raise OtherCodeError(host)
        reason = difference(self.expected, facts)
        if reason is not None:
            self._retire(slot, actor, WorkerStartError(HostError(reason, host), host))
            return
        self.failed_starts = 0
        self.queue.hosts[slot] = host
        self.lost_hosts.discard(host)
        self.suspects.pop(host, None)
        self.alive.add(slot)

    def _failed(self, slot: int, actor: ray.actor.ActorHandle, shard: int | None, error: Exception) -> None:
        """Note an exception of a call; a user's mistake is raised."""
        if isinstance(error, WorkerStartError):
            self._retire(slot, actor, error)
            if shard is not None:
                self.queue.release(shard, slot)
            return
        if isinstance(error, ValueError) or shard is None:
            raise error from None
        self.queue.fail(shard, slot, error)
        host = self.queue.hosts[slot]
        self.failures_in_a_row[host] += 1
        if self.failures_in_a_row[host] >= TRIES:
            self._leave_out(host, error)

    def _leave_out(self, host: str, error: Exception) -> None:
        """Give no more work to a host where one shard after another failed, when there are others."""
        here = {slot for slot in self.alive if self.queue.hosts[slot] == host}
        if here == self.alive:
            return
        for slot in here:
            self._retire(slot, self.actors[slot], WorkerStartError(error, host))

    def _say_lost(self, slot: int, actor: ray.actor.ActorHandle, error: Exception) -> None:
        """Name the host of an actor that had begun and was lost; of several on a lost host the first is enough."""
        if self.actors[slot] is not actor or slot not in self.alive:
            return
        host, failure = self.queue.hosts[slot], describe_failure(error)
        if failure["lost"] != NODE:
            LOG.warning("host %s: a worker was lost: %s; its shards are done again", host, failure["text"])
            now = time.monotonic()
            self.suspects[host], self.next_look = now + SUSPECT_SECONDS, now + DELAY_SECONDS
        elif host not in self.lost_hosts:
            LOG.warning("host %s was lost; its shards go to other workers", host)
            self.lost_hosts.add(host)

    def name_lost_hosts(self) -> None:
        """Say which hosts have left the cluster after a worker of theirs was lost, which Ray notices later."""
        now = time.monotonic()
        if not self.suspects or now < self.next_look or self.head is None or not self.head.answers:
            return
        self.next_look = now + LOOK_SECONDS
        for host in self.suspects.keys() - alive_hosts() - self.lost_hosts:
            LOG.warning("host %s was lost; its shards go to other workers", host)
            self.lost_hosts.add(host)
        self.suspects = {h: until for h, until in self.suspects.items() if now < until and h not in self.lost_hosts}

    def _lost(self, slot: int, actor: ray.actor.ActorHandle, born: bool, error: Exception) -> None:
        """Put another actor in the place of one that was lost, unless none begins there."""
        self.failed_starts = 0 if born else self.failed_starts + 1
        if self.actors[slot] is not actor:
            return
        self.alive.discard(slot)
        if self.failed_starts < LOSSES:
            self._fill(slot)
            return
        self.actors[slot] = None
        reason = f"{self.failed_starts} workers in a row ended before they began: {' '.join(str(error).split())}"
        if not any(self.actors):
            raise RuntimeError(reason) from error
        LOG.warning("%s; the other workers do without them", reason)

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
        LOG.warning("%s; its shards go to other workers", error)

    def _warn(self) -> None:
        """Say once that actors have been waited for too long, and how many there are without them."""
        late = time.monotonic() - PATIENCE_SECONDS
        waiting = [slot for slot, actor in enumerate(self.actors) if actor is not None and slot not in self.alive]
        if self.warned or not any(self.started[slot] < late for slot in waiting):
            return
        self.warned = True
        LOG.warning(
            "%s of %d workers started within %d seconds: the cluster may lack the processors or GPUs that one needs "
            "(--cpus-per-worker, --gpus-per-worker); work %s as soon as there is room",
            len(self.alive) or "none",
            len(self.actors),
            PATIENCE_SECONDS,
            "is shared with the others" if self.alive else "begins",
        )
