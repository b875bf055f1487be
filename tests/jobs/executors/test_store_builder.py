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
