"""Fill a planned store: the missing shards on workers, then the finish; interrupted, the same call goes on."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from jobs.config import RuntimeConfig
from jobs.executors.pool import run_shards
from jobs.executors.worker import OnProgress, ShardResult, WorkerFactory
from stores import Store, StoreWriter


def write_missing_shards(
    writers: Sequence[StoreWriter],
    factory: WorkerFactory,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
    max_rejected: float,
) -> list[Store]:
    """Take over what older stores hold, do every unit of which a shard is missing, and finalize; complete ones stay.

    A unit is a shard of the store with the most rows in one; the shards of the others divide it.

    Raises:
        StoreError: another driver holds a store, or more than `max_rejected` of the rows were rejected (all is kept).
        ShardFailed: a shard failed on every try.
    """
    for writer in writers:
        writer.begin()
    unfinished = [writer for writer in writers if not writer.complete]
    if unfinished:
        with ExitStack() as leases:
            for writer in unfinished:
                leases.enter_context(writer.lease(runtime.take_over))
                writer.reuse_shards()
            coarsest = max(writers, key=lambda writer: writer.manifest.rows_per_shard)
            missing = _missing_units(unfinished, coarsest.manifest.rows_per_shard)
            counters = ShardCounters(coarsest.num_shards, len(missing))
            count = _counter(coarsest, missing, counters, on_progress)
            try:
                run_shards(factory, missing, runtime, _judged(count, unfinished, max_rejected))
            finally:
                for writer in unfinished:
                    writer.blobs.sweep()  # what lost workers left half written
            made_on = {"hosts": hosts} if len(hosts := counters.rows_and_rates()) > 1 else {}
            for writer in unfinished:
                writer.finalize(max_rejected, made_on)
    return [writer.finalize() for writer in writers]


def _missing_units(writers: Sequence[StoreWriter], unit_rows: int) -> list[int]:
    rows = [shard * writer.manifest.rows_per_shard for writer in writers for shard in writer.missing_shards()]
    return sorted({row // unit_rows for row in rows})


def _judged(
    count: Callable[[ShardResult], None], writers: Sequence[StoreWriter], max_rejected: float
) -> Callable[[ShardResult], None]:
    """`count`, ended as soon as more rows are rejected than a finished store may have."""
    rejected = 0

    def judge(result: ShardResult) -> None:
        nonlocal rejected
        count(result)
        rejected += result["rejected"]
        if result["rejected"] and rejected > max_rejected * min(writer.num_rows for writer in writers):
            for writer in writers:
                writer.check_rejected(max_rejected)

    return judge


def _counter(
    writer: StoreWriter, missing: list[int], counters: "ShardCounters", on_progress: OnProgress
) -> Callable[[ShardResult], None]:
    """A function of shard results that reports rows done out of all, and what they amount to."""
    done = writer.num_rows - sum(len(writer.shard_rows(shard)) for shard in missing)
    on_progress(done, writer.num_rows, counters.facts())

    def count(result: ShardResult) -> None:
        nonlocal done
        done += result["rows"]
        counters.add(result)
        on_progress(done, writer.num_rows, counters.facts())

    return count


class ShardCounters:
    """Counts shards and rejected rows, the rows of each worker and host, and the seconds that each part took.

    total, missing: shards of the store, and those that this run has to do.
    """

    def __init__(self, total: int, missing: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.shards, self.shards_done, self.rejected = total, total - missing, 0
        self.clock = clock
        self.hosts: dict[str, _HostRows] = {}
        self.rows_by_worker: Counter[str] = Counter()
        self.seconds_by_part: Counter[str] = Counter()

    def add(self, result: ShardResult) -> None:
        """Take in a shard's result; `host`, `worker` and `seconds` may be absent."""
        self.shards_done += 1
        self.rejected += result["rejected"]
        self.rows_by_worker[str(result.get("worker", "this process"))] += result["rows"]
        self.seconds_by_part.update(result.get("seconds", {}))
        if "host" in result:
            self.hosts.setdefault(result["host"], _HostRows(self.clock())).add(result["rows"])

    def facts(self) -> dict[str, Any]:
        """The counts; mappings are shares of a whole. Several hosts have their rows, and the slowest its rate."""
        facts: dict[str, Any] = {"shards_done": self.shards_done, "shards": self.shards}
        if self.rejected:
            facts["rejected"] = self.rejected
        if self.rows_by_worker:
            facts["rows_by_worker"] = dict(self.rows_by_worker)
        if len(self.hosts) > 1:
            facts["rows_by_host"] = {host: rows.rows for host, rows in sorted(self.hosts.items())}
            facts |= self._rates()
        if self.seconds_by_part:
            facts["seconds_by_part"] = {part: round(seconds, 3) for part, seconds in self.seconds_by_part.items()}
        return facts

    def rows_and_rates(self) -> dict[str, dict[str, float | None]]:
        """`rows` of each host, and `rows_per_second` after its first result; None of a host that had one alone."""
        now = self.clock()
        return {
            host: {"rows": one.rows, "rows_per_second": round(one.per_second(now), 3) if one.later_rows else None}
            for host, one in sorted(self.hosts.items())
        }

    def _rates(self) -> dict[str, str]:
        """Rows a second of each host since its first result, as text, and the slowest; {} before there are two."""
        now = self.clock()
        rates = {host: rows.per_second(now) for host, rows in self.hosts.items() if rows.later_rows}
        if len(rates) < 2:
            return {}
        slowest = min(sorted(rates), key=lambda host: rates[host])
        texts = [f"{host} {rates[host]:.3g}/s" for host in sorted(rates, key=lambda host: -rates[host])]
        return {"host_rates": ", ".join(texts), "slowest_host": slowest}


@dataclass
class _HostRows:
    """Rows of a host; its rate is that of the rows after its first result, which came at `first`."""

    first: float
    rows: int = 0
    later_rows: int = 0

    def add(self, rows: int) -> None:
        self.later_rows += rows if self.rows else 0
        self.rows += rows

    def per_second(self, now: float) -> float:
        """The rate until now, so that a host that says nothing more falls behind."""
        return self.later_rows / max(now - self.first, 1e-3)
