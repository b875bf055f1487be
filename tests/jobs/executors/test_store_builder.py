"""What shards amount to, and stores that are filled together from one queue of shards."""

from functools import partial

import numpy as np
import pytest

from jobs.config.stages import RuntimeConfig
from jobs.executors.store_builder import ShardCounters, first_units, write_missing_of_set, write_missing_shards
from jobs.executors.worker import SetWorker
from stores import ArraySpec, StoreWriter, TooManyRejectedError, new_index

LOCAL = RuntimeConfig(executor="local", threads=1)
ROWS = {"a": 7, "b": 1, "c": 5}


class RowWorker:
    """Writes the row numbers; rows of `rejected` are none."""

    def __init__(self, location, rejected=()):
        self.writer, self.rejected = StoreWriter.open(location), rejected

    def run(self, shard):
        rows = self.writer.shard_rows(shard)
        bad = {row: "no image" for row in self.rejected if row in rows}
        values = np.arange(rows.start, rows.stop, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
        self.writer.write_shard(shard, {"features": np.tile(values, (1, 1, 2, 2, 3))}, rejected=bad)
        return {"shard": shard, "rows": len(rows), "rejected": len(bad)}


def planned(parent, name):
    index = new_index([f"{name}{row}" for row in range(ROWS[name])])
    spec = ArraySpec("features", (2, 2, 3), "float32")
    return StoreWriter.plan(parent, "features", name, [spec], index, {}, rows_per_shard=2)


def filled(parent, on_progress=lambda *_: None, rejected=(), max_rejected=0.0):
    """The stores of one queue, and the names of those that a worker was made for."""
    writers, made = [planned(parent, name) for name in ROWS], []
    members = [[writer] for writer in writers]

    def factory():
        found = [(first, writer) for first, writer in zip(first_units(members), writers, strict=True)]
        found = [(first, writer) for first, writer in found if not writer.complete]
        made.extend(writer.manifest.name for _, writer in found)
        return SetWorker([RowWorker(writer.url, rejected) for _, writer in found], [first for first, _ in found])

    stores = write_missing_of_set(members, factory, LOCAL, on_progress, max_rejected)
    return [store for (store,) in stores], made


def test_stores_of_one_queue_are_what_each_is_alone(tmp_path):
    said = []
    stores, made = filled(tmp_path / "set", lambda *progress: said.append(progress))
    assert made == list(ROWS)
    for name, store in zip(ROWS, stores, strict=True):
        writer = planned(tmp_path / "alone", name)
        (alone,) = write_missing_shards([writer], partial(RowWorker, writer.url), LOCAL, lambda *_: None, 0.0)
        assert store.content_id == alone.content_id
    assert {total for _, total, _ in said} == {13}, "the rows of all"
    done = [rows for rows, _, _ in said]
    assert (done[0], done[-1]) == (0, 13)
    assert done == sorted(done)
    assert said[-1][2]["shards"] == said[-1][2]["shards_done"] == 4 + 1 + 3


def test_stores_that_are_complete_have_no_worker_and_count_as_done(tmp_path):
    whole, _ = filled(tmp_path / "whole")
    writer = planned(tmp_path / "set", "b")
    write_missing_shards([writer], partial(RowWorker, writer.url), LOCAL, lambda *_: None, 0.0)
    half = planned(tmp_path / "set", "a")
    half.begin()
    RowWorker(half.url).run(1)
    said = []
    stores, made = filled(tmp_path / "set", lambda *progress: said.append(progress[:2]))
    assert made == ["a", "c"]
    assert said[0] == (1 + 2, 13)
    assert [store.content_id for store in stores] == [store.content_id for store in whole]
    assert filled(tmp_path / "set")[1] == [], "all are complete: no worker is made"


def test_the_share_that_may_be_rejected_is_that_of_all_rows(tmp_path):
    stores, _ = filled(tmp_path / "few", rejected=(3,), max_rejected=0.2)  # of a and of c, 1 of 5 rows and of 7
    assert [len(store.rows()) for store in stores] == [6, 1, 4]
    with pytest.raises(TooManyRejectedError, match=r"2 of 13 images were rejected, more than the allowed share 0\.15"):
        filled(tmp_path / "many", rejected=(3,), max_rejected=0.15)
    with pytest.raises(TooManyRejectedError, match="2 of 13 images were rejected"):
        filled(tmp_path / "many", rejected=(3,), max_rejected=0.15)


def test_a_store_of_a_set_may_have_no_row_but_not_all_of_them(tmp_path):
    stores, _ = filled(tmp_path / "one", rejected=(0,), max_rejected=0.3)  # the only row of b, and of a and c one each
    assert [len(store.rows()) for store in stores] == [6, 0, 4]
    with pytest.raises(TooManyRejectedError, match=r"13 of 13 images were rejected, and a store needs one that is not"):
        filled(tmp_path / "all", rejected=range(8), max_rejected=1.0)


def test_nothing_is_told_of_what_has_not_happened():
    assert ShardCounters(total=12, missing=9).facts() == {"shards_done": 3, "shards": 12}


def test_shards_rows_by_worker_seconds_by_part_and_rejected_rows_are_added_up():
    counters = ShardCounters(total=12, missing=9)
    counters.add({"shard": 1, "rows": 4, "rejected": 0, "worker": "a", "seconds": {"decode": 1.0, "write": 0.5}})
    counters.add({"shard": 2, "rows": 4, "rejected": 2, "worker": "b", "seconds": {"decode": 0.25}})
    counters.add({"shard": 3, "rows": 1, "rejected": 0, "worker": "a"})
    assert counters.facts() == {
        "shards_done": 6,
        "shards": 12,
        "rejected": 2,
        "rows_by_worker": {"a": 5, "b": 4},
        "seconds_by_part": {"decode": 1.25, "write": 0.5},
    }


def test_a_worker_without_a_name_is_this_process():
    counters = ShardCounters(total=1, missing=1)
    counters.add({"shard": 0, "rows": 4, "rejected": 0})
    assert counters.facts()["rows_by_worker"] == {"this process": 4}


def test_several_hosts_have_their_rows_and_the_slowest_is_named():
    now = [0.0]
    counters = ShardCounters(total=9, missing=9, clock=lambda: now[0])
    for second, host, rows in [(1, "a", 4), (2, "b", 4), (3, "a", 4), (4, "a", 4), (6, "b", 4)]:
        now[0] = second
        counters.add({"shard": 0, "rows": rows, "rejected": 0, "host": host})
    facts = counters.facts()
    assert facts["rows_by_host"] == {"a": 12, "b": 8}
    assert facts["host_rates"] == "a 1.6/s, b 1/s"  # 8 rows in 5 s, 4 in 4 s
    assert facts["slowest_host"] == "b"


def test_a_host_that_works_no_more_has_no_rate_and_keeps_the_one_that_it_had():
    now = [0.0]
    counters = ShardCounters(total=9, missing=9, clock=lambda: now[0])

    def add(second, host, *active):
        now[0] = second
        counters.add({"shard": 0, "rows": 4, "rejected": 0, "host": host, "active_hosts": set(active)})
        return counters.facts()

    for second in (1, 2):
        for host in "abc":
            facts = add(second, host, "a", "b", "c")
    assert facts["host_rates"] == "a 4/s, b 4/s, c 4/s"
    assert facts["inactive_hosts"] is None
    facts = add(9, "a", "a", "b")
    assert facts["host_rates"] == "a 1/s, b 0.5/s"
    assert facts["inactive_hosts"] == "c"
    assert counters.rows_and_rates()["c"] == {"rows": 8, "rows_per_second": 4.0}
    facts = add(10, "a", "a")
    # Progress keeps what it has been told until it is told None.
    assert {facts[name] for name in ("host_rates", "slowest_host")} == {None}
    assert facts["inactive_hosts"] == "b, c"
    assert add(11, "b", "a", "b", "c")["inactive_hosts"] is None  # they are back


def test_one_host_is_not_named():
    counters = ShardCounters(total=1, missing=1)
    counters.add({"shard": 0, "rows": 4, "rejected": 0, "host": "a"})
    assert not {"rows_by_host", "host_rates", "slowest_host", "inactive_hosts"} & counters.facts().keys()


class WorkerOnHosts:
    """Writes shards; the first is said to be of host a, the others of b."""

    def __init__(self, writer):
        self.writer = writer

    def run(self, shard):
        rows = len(self.writer.shard_rows(shard))
        self.writer.write_shard(shard, {"features": np.ones((rows, 1, 2, 2, 4), np.float16)})
        return {"shard": shard, "rows": rows, "rejected": 0, "host": "b" if shard else "a"}


def test_a_store_that_several_hosts_made_records_their_rows_and_is_otherwise_the_same(tmp_path):
    made = []
    for workers in (WorkerOnHosts, SilentOnHosts):
        writer = StoreWriter.plan(
            tmp_path / workers.__name__,
            kind="features",
            name="hosts",
            arrays=[ArraySpec("features", (2, 2, 4))],
            index=new_index([str(row) for row in range(10)]),
            ingredients={},
            rows_per_shard=4,
        )
        local = RuntimeConfig(executor="local", threads=1)
        made += write_missing_shards([writer], lambda writer=writer, w=workers: w(writer), local, lambda *_: None, 0.0)
    of_hosts, of_one = made
    hosts = of_hosts.manifest.attributes["hosts"]
    assert {host: one["rows"] for host, one in hosts.items()} == {"a": 4, "b": 6}
    assert hosts["a"]["rows_per_second"] is None  # its first shard is its last
    assert hosts["b"]["rows_per_second"] > 0
    assert "hosts" not in of_one.manifest.attributes
    assert (of_hosts.content_id, of_hosts.fingerprint) == (of_one.content_id, of_one.fingerprint)


class SilentOnHosts(WorkerOnHosts):
    """The same of one process, which names no host."""

    def run(self, shard):
        result = super().run(shard)
        del result["host"]
        return result
