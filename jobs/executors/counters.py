"""What the shards that came back amount to, as facts for those who watch."""

from collections import Counter
from typing import Any

from jobs.executors.worker import ShardResult


class ShardCounters:
    """Counts shards and rejected rows, the rows of each worker, and the seconds that each part of the work took.

    total, missing: shards of the store, and those that this run has to do.
    """

    def __init__(self, total: int, missing: int) -> None:
        self.shards, self.shards_done, self.rejected = total, total - missing, 0
        self.rows_by_worker: Counter[str] = Counter()
        self.seconds_by_part: Counter[str] = Counter()

    def add(self, result: ShardResult) -> None:
        """Take in a shard's result; `worker` and `seconds` may be absent."""
        self.shards_done += 1
        self.rejected += result["rejected"]
        self.rows_by_worker[str(result.get("worker", "this process"))] += result["rows"]
        self.seconds_by_part.update(result.get("seconds", {}))

    def facts(self) -> dict[str, Any]:
        """The counts; mappings are shares of a whole."""
        facts: dict[str, Any] = {"shards_done": self.shards_done, "shards": self.shards}
        if self.rejected:
            facts["rejected"] = self.rejected
        if self.rows_by_worker:
            facts["rows_by_worker"] = dict(self.rows_by_worker)
        if self.seconds_by_part:
            facts["seconds_by_part"] = {part: round(seconds, 3) for part, seconds in self.seconds_by_part.items()}
        return facts
