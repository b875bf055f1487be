"""Which shards wait, run and are done, and which a free worker gets next."""

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator

from jobs.executors.worker import IN_FLIGHT, TRIES, ShardFailed

# A worker that is lost (a node that a cloud took back) says little about its shards: they get more chances.
LOSSES = 10
# A shard that takes this many times the median is given a second time, once nothing else is left to do.
STRAGGLING = 2.0
# … and at least so long: a hiccup of a busy machine is no reason to do work twice.
STRAGGLING_SECONDS = 10.0
ENOUGH_TO_JUDGE = 3


class ShardQueue:
    """Hands every shard out once; again when it failed, or when it straggles and a worker has nothing to do.

    Workers are numbers; `hosts` says where each one is, as far as that is known: what failed on a host is left to the
    workers of others. Of two copies of a shard the first result counts: both write the same bytes.
    """

    def __init__(self, shards: Iterable[int], clock: Callable[[], float] = time.monotonic) -> None:
        self.waiting = deque(shards)
        self.clock = clock
        self.hosts: dict[int, str] = {}
        self.running: dict[tuple[int, int], float] = {}  # (shard, worker) -> when it was handed out
        self.done: set[int] = set()
        self._left = len(self.waiting)
        self._seconds: list[float] = []
        self._failures: Counter[int] = Counter()
        self._losses: Counter[int] = Counter()
        self._failed_on: set[tuple[int, str | int]] = set()  # (shard, host)

    @property
    def finished(self) -> bool:
        """Whether every shard is done; a second copy may still be running."""
        return len(self.done) == self._left

    def assign(self, workers: Iterable[int]) -> Iterator[tuple[int, int]]:
        """(worker, shard) pairs to start now: one each before anybody gets a second, IN_FLIGHT each at most."""
        workers = list(workers)
        for load in range(IN_FLIGHT):
            for worker in workers:
                if self._load(worker) > load:
                    continue
                shard = self._next(worker, workers)
                if shard is None and not self.waiting and load == 0:
                    shard = self._straggler(worker)
                if shard is not None:
                    self.running[shard, worker] = self.clock()
                    yield worker, shard

    def finish(self, shard: int, worker: int) -> bool:
        """Note a result; False when another copy was faster."""
        self._seconds.append(self.clock() - self.running.pop((shard, worker)))
        first = shard not in self.done
        self.done.add(shard)
        return first

    def fail(self, shard: int, worker: int, error: BaseException) -> None:
        """Note an error of a shard and let it wait for another try.

        Raises:
            ShardFailed: it failed on every try.
        """
        self._failed_on.add((shard, self._host(worker)))
        self._again(shard, worker, error, self._failures, TRIES, "failed")

    def lose(self, shard: int, worker: int, error: BaseException) -> None:
        """The same for a shard whose worker was lost."""
        self._again(shard, worker, error, self._losses, LOSSES, "lost its worker")

    def release(self, shard: int, worker: int) -> None:
        """Let a shard wait again that its worker never began."""
        del self.running[shard, worker]
        if shard not in self.done and not any(other == shard for other, _ in self.running):
            self.waiting.appendleft(shard)

    def _next(self, worker: int, workers: list[int]) -> int | None:
        """The next shard that waits; one that failed on this host is left to the others that have not tried it."""
        hosts = {self._host(other) for other in workers}
        for shard in self.waiting:
            tried = {host for host in hosts if (shard, host) in self._failed_on}
            if self._host(worker) not in tried or tried >= hosts:
                self.waiting.remove(shard)
                return shard
        return None

    def _again(
        self, shard: int, worker: int, error: BaseException, counts: Counter[int], limit: int, what: str
    ) -> None:
        del self.running[shard, worker]
        if shard in self.done:
            return
        counts[shard] += 1
        if counts[shard] >= limit:
            raise ShardFailed(
                f"shard {shard} {what} {limit} times; the finished shards are kept. "
                f"Last error: {type(error).__name__}: {error}"
            ) from error
        if not any(other == shard for other, _ in self.running):
            self.waiting.append(shard)

    def _host(self, worker: int) -> str | int:
        """Where a worker is; a worker whose host is unknown counts as a host of its own."""
        return self.hosts.get(worker, worker)

    def _load(self, worker: int) -> int:
        return sum(other == worker for _, other in self.running)

    def _straggler(self, worker: int) -> int | None:
        """The shard that has been running longest, when that is far too long and it runs on one other worker alone."""
        if len(self._seconds) < ENOUGH_TO_JUDGE:
            return None
        limit = max(STRAGGLING * statistics.median(self._seconds), STRAGGLING_SECONDS)
        copies = Counter(shard for shard, _ in self.running)
        late = {
            shard: began
            for (shard, other), began in self.running.items()
            if copies[shard] == 1 and other != worker and shard not in self.done and self.clock() - began > limit
        }
        return min(late, key=lambda shard: late[shard], default=None)
