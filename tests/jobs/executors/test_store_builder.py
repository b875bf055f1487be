"""What shards amount to."""

from jobs.executors.store_builder import ShardCounters


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
