"""Fill planned stores: the missing shards on workers, then the finish; interrupted, the same call goes on."""

import itertools
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from jobs.config import RuntimeConfig
from jobs.executors.pool import run_shards
from jobs.executors.worker import OnProgress, ShardResult, WorkerFactory
from stores import Store, StoreWriter
from stores.core import check_rejected


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
    return write_missing_of_set([writers], factory, runtime, on_progress, max_rejected)[0]


def write_missing_of_set(
    members: Sequence[Sequence[StoreWriter]],
    factory: WorkerFactory,
    runtime: RuntimeConfig,
    on_progress: OnProgress,
    max_rejected: float,
) -> list[list[Store]]:
    """`write_missing_shards` for several members at once, whose units wait in one queue; see `SetWorker`.

    A worker that has nothing left to do of one member goes on with the next. The share of rows that may be rejected is
    that of all members' rows together.

    Args:
        members: the writers of each; units of the first come first.
        factory: makes a worker that takes the units of all members, numbered as `first_units` says.
        runtime: where the workers run.
        on_progress: called with the rows of all members.
        max_rejected: the share of rows.
    """
    for writer in itertools.chain(*members):
        writer.begin()
    units = _Units.of(members)
    if unfinished := units.unfinished:
        with ExitStack() as leases:
            for writer in unfinished:
                leases.enter_context(writer.lease(runtime.take_over))
                writer.reuse_shards()
            missing = units.missing()
            of_member = [ShardCounters(writer.num_shards, 0) for writer in units.coarsest]
            count = _counter(units, missing, of_member, on_progress)
            try:
                run_shards(factory, missing, runtime, _judged(units, count, max_rejected))
            finally:
                for writer in unfinished:
                    writer.blobs.sweep()  # what lost workers left half written
            for member, counters in zip(members, of_member, strict=True):
                made_on = {"hosts": hosts} if len(hosts := counters.rows_and_rates()) > 1 else {}
                for writer in member:
                    writer.finalize(units.allowed_share(writer, max_rejected), made_on, may_be_empty=units.is_set)
    stores = [[writer.finalize() for writer in member] for member in members]
    if sum(len(store.rows()) for member in stores for store in member[:1]) < units.num_rows:
        units.check_rejected(max_rejected)
    return stores


def first_units(members: Sequence[Sequence[StoreWriter]]) -> list[int]:
    """The number of each member's first unit: they are numbered one member after the other."""
    counts = [_coarsest(member).num_shards for member in members]
    return [0, *itertools.accumulate(counts)][: len(counts)]


def _coarsest(member: Sequence[StoreWriter]) -> StoreWriter:
    return max(member, key=lambda writer: writer.manifest.rows_per_shard)


@dataclass(frozen=True)
class _Units:
    """The units of work of several members.

    A unit is a shard of the member's store with the most rows in one, `coarsest`; the shards of its others divide it.
    """

    members: Sequence[Sequence[StoreWriter]]
    coarsest: Sequence[StoreWriter]
    firsts: Sequence[int]

    @classmethod
    def of(cls, members: Sequence[Sequence[StoreWriter]]) -> "_Units":
        return cls(members, [_coarsest(member) for member in members], first_units(members))

    @property
    def unfinished(self) -> list[StoreWriter]:
        return [writer for member in self.members for writer in member if not writer.complete]

    @property
    def count(self) -> int:
        return sum(writer.num_shards for writer in self.coarsest)

    @property
    def num_rows(self) -> int:
        return sum(writer.num_rows for writer in self.coarsest)

    def missing(self) -> list[int]:
        """Units of which a shard is missing."""
        return [
            first + unit
            for member, coarsest, first in zip(self.members, self.coarsest, self.firsts, strict=True)
            for unit in _missing_units(member, coarsest.manifest.rows_per_shard)
        ]

    def rows_of(self, units: Sequence[int]) -> int:
        """Rows of some units."""
        places = [(self.member_of(unit), unit) for unit in units]
        return sum(len(self.coarsest[number].shard_rows(unit - self.firsts[number])) for number, unit in places)

    def member_of(self, unit: int) -> int:
        """The number of the member that a unit is of."""
        return bisect_right(self.firsts, unit) - 1

    @property
    def is_set(self) -> bool:
        """Whether there are several members, of which one may have no row that is not rejected."""
        return len(self.members) > 1

    def allowed_share(self, writer: StoreWriter, max_rejected: float) -> float:
        """The share of a store's rows that may be rejected, where those of all members count together."""
        return min(1.0, max_rejected * self.num_rows / writer.num_rows) if self.is_set else max_rejected

    def check_rejected(self, max_rejected: float) -> None:
        """Raise `TooManyRejectedError` when more than that share of all members' rows, or all, are rejected so far."""
        if self.is_set:
            rejected = [row for writer in self.coarsest for row in writer.rejected()]
            check_rejected(f"{len(self.members)} stores of a set", rejected, self.num_rows, max_rejected)
        else:
            for writer in self.unfinished:
                writer.check_rejected(max_rejected)


def _missing_units(writers: Sequence[StoreWriter], unit_rows: int) -> list[int]:
    unfinished = [writer for writer in writers if not writer.complete]
    rows = [shard * writer.manifest.rows_per_shard for writer in unfinished for shard in writer.missing_shards()]
    return sorted({row // unit_rows for row in rows})


def _judged(units: _Units, count: Callable[[ShardResult], None], max_rejected: float) -> Callable[[ShardResult], None]:
    """`count`, ended as soon as more rows are rejected than finished stores may have."""
    rejected = 0

    def judge(result: ShardResult) -> None:
        nonlocal rejected
        count(result)
        rejected += result["rejected"]
        if result["rejected"] and rejected > max_rejected * units.num_rows:
            units.check_rejected(max_rejected)

    return judge


def _counter(
    units: _Units, missing: list[int], of_member: "Sequence[ShardCounters]", on_progress: OnProgress
) -> Callable[[ShardResult], None]:
    """A function of shard results that reports rows done out of all, and what they amount to, of each member too."""
    total = units.num_rows
    done = total - units.rows_of(missing)
    counters = ShardCounters(units.count, len(missing))
    on_progress(done, total, counters.facts())

    def count(result: ShardResult) -> None:
        nonlocal done
        done += result["rows"]
        counters.add(result)
        of_member[units.member_of(result["shard"])].add(result)
        on_progress(done, total, counters.facts())

    return count


class ShardCounters:
    """Counts shards and rejected rows, the rows of each worker and host, and the seconds that each part took.

    total, missing: shards of the store, and those that this run has to do.
    """

    def __init__(self, total: int, missing: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.shards, self.shards_done, self.rejected = total, total - missing, 0
        self.clock = clock
        self.hosts: dict[str, _HostRows] = {}
        self.inactive_hosts: set[str] = set()
        self.rows_by_worker: Counter[str] = Counter()
        self.seconds_by_part: Counter[str] = Counter()

    def add(self, result: ShardResult) -> None:
        """Take in a shard's result; `host`, `active_hosts`, `worker` and `seconds` may be absent."""
        self.shards_done += 1
        self.rejected += result["rejected"]
        self.rows_by_worker[str(result.get("worker", "this process"))] += result["rows"]
        self.seconds_by_part.update(result.get("seconds", {}))
        if "host" in result:
            now = self.clock()
            self.hosts.setdefault(result["host"], _HostRows(now)).add(result["rows"], now)
        if "active_hosts" in result:
            self.inactive_hosts = self.hosts.keys() - result["active_hosts"]

    def facts(self) -> dict[str, Any]:
        """The counts; mappings are shares of a whole. None: what was said before no longer holds.

        Several hosts have their rows; of those at work the rates and the slowest, the others are named.
        """
        facts: dict[str, Any] = {"shards_done": self.shards_done, "shards": self.shards}
        if self.rejected:
            facts["rejected"] = self.rejected
        if self.rows_by_worker:
            facts["rows_by_worker"] = dict(self.rows_by_worker)
        if len(self.hosts) > 1:
            facts["rows_by_host"] = {host: rows.rows for host, rows in sorted(self.hosts.items())}
            facts |= self._rates()
            facts["inactive_hosts"] = ", ".join(sorted(self.inactive_hosts)) or None
        if self.seconds_by_part:
            facts["seconds_by_part"] = {part: round(seconds, 3) for part, seconds in self.seconds_by_part.items()}
        return facts

    def rows_and_rates(self) -> dict[str, dict[str, float | None]]:
        """`rows` of each host, and `rows_per_second` after its first result; None of a host that had one alone."""
        return {
            host: {"rows": one.rows, "rows_per_second": round(self._rate(host), 3) if one.later_rows else None}
            for host, one in sorted(self.hosts.items())
        }

    def _rate(self, host: str) -> float:
        """Until now, so that a host that says nothing more falls behind; of an inactive one until its last result."""
        one = self.hosts[host]
        return one.per_second(one.last if host in self.inactive_hosts else self.clock())

    def _rates(self) -> dict[str, str | None]:
        """Rows a second of each active host since its first result, as text, and the slowest; None: fewer than two."""
        active = sorted(self.hosts.keys() - self.inactive_hosts)
        rates = {host: self._rate(host) for host in active if self.hosts[host].later_rows}
        if len(rates) < 2:
            return {"host_rates": None, "slowest_host": None}
        slowest = min(rates, key=lambda host: rates[host])
        texts = [f"{host} {rates[host]:.3g}/s" for host in sorted(rates, key=lambda host: -rates[host])]
        return {"host_rates": ", ".join(texts), "slowest_host": slowest}


@dataclass
class _HostRows:
    """Rows of a host; its rate is that of the rows after its first result, which came at `first`."""

    first: float
    rows: int = 0
    later_rows: int = 0
    last: float = 0.0  # when the last result came

    def add(self, rows: int, now: float) -> None:
        self.later_rows += rows if self.rows else 0
        self.rows += rows
        self.last = now

    def per_second(self, until: float) -> float:
        """The rate from the first result until a time."""
        return self.later_rows / max(until - self.first, 1e-3)
