"""The contract between the dispatcher of shards, the workers that make them, and progress reports."""

import platform
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Protocol

# shard, rows, rejected; seconds by part of the work when the worker measures them; worker, host and active_hosts (those
# of all workers but the ones that were lost or left out) when there are several.
ShardResult = dict[str, Any]
OnProgress = Callable[[int, int, dict[str, Any]], None]

IN_FLIGHT = 2  # one shard in the encoder, one being decoded or written
TRIES = 3


class ShardWorker(Protocol):
    """Makes and commits shards."""

    def run(self, shard: int) -> ShardResult:
        """Make and commit one shard: a pure function of the store's manifest and the shard number."""
        ...


WorkerFactory = Callable[[], ShardWorker]


class SetWorker:
    """Does the shards of several stores, numbered one store after the other, each by a worker of its store.

    Args:
        workers: one for each store, as far as any of its shards is missing.
        firsts: the number of the first shard of each one's store.
    """

    def __init__(self, workers: Sequence[ShardWorker], firsts: Sequence[int]) -> None:
        self.workers, self.firsts = workers, firsts

    def run(self, shard: int) -> ShardResult:
        """Make and commit one shard of one of the stores."""
        number = bisect_right(self.firsts, shard) - 1
        return {**self.workers[number].run(shard - self.firsts[number]), "shard": shard}


class HostError(RuntimeError):
    """Something that one host cannot reach or read, and another may: the data, the root, the weights, a device.

    Args:
        reason: what is wrong there.
        host: its name, by default this host's.
    """

    def __init__(self, reason: str, host: str | None = None) -> None:
        self.reason, self.host = reason, host or platform.node()
        super().__init__(reason, self.host)

    def __str__(self) -> str:
        return f"host {self.host}: {self.reason}"


class WorkerStartError(HostError):
    """A worker that cannot begin; `error` is why."""

    def __init__(self, error: Exception, host: str | None = None) -> None:
        super().__init__(error.reason if isinstance(error, HostError) else str(error), host)
        self.error, self.args = error, (error, self.host)


class ShardFailed(RuntimeError):
    """A shard that failed on every try; the shards done before it are kept."""


class StageTimer:
    """A stopwatch that adds the seconds since the last lap to a named part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """Close the lap that was running and count it for `part`."""
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now
