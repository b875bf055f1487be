"""What shards amount to."""

import numpy as np

from jobs.config.stages import RuntimeConfig
from jobs.executors.store_builder import ShardCounters, write_missing_shards
from stores import ArraySpec, StoreWriter, new_index


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


def test_one_host_is_not_named():
    counters = ShardCounters(total=1, missing=1)
    counters.add({"shard": 0, "rows": 4, "rejected": 0, "host": "a"})
    assert not {"rows_by_host", "host_rates", "slowest_host"} & counters.facts().keys()


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
