"""How a training follows a store that is still being written."""

from dataclasses import dataclass

# A writer that is gone may be started again meanwhile; a lease of another machine is stale after this time.
GONE_SECONDS = 60.0
PATIENCE_SECONDS = 600.0
# Without --min-rows a training waits for so many batches, and for so many rows, where the store has them.
FIRST_BATCHES, FIRST_ROWS = 4, 1000


@dataclass(frozen=True)
class FollowConfig:
    """When a following training begins, and whether it takes channel statistics that are not final.

    Attributes:
        min_rows: training rows that must be committed before the first step; None = see `first_rows`.
        snapshot_statistics: take those of the rows that are there when the training begins, though they are not final.
        patience_seconds: waiting ends after so long without a new row.
    """

    min_rows: int | None = None
    snapshot_statistics: bool = False
    patience_seconds: float = PATIENCE_SECONDS

    def part_rows(self, batch_rows: int) -> int:
        """New training rows of a part of an epoch that is encoded while it lasts: as many as for the first step."""
        return self.min_rows or max(FIRST_ROWS, FIRST_BATCHES * batch_rows)

    def first_rows(self, batch_rows: int, planned_rows: int) -> int:
        """Training rows to wait for: four batches and at least 1,000 where not set, never more than are planned.

        Raises:
            ValueError: fewer than a batch, or more than the store will have.
        """
        if self.min_rows is None:
            return min(planned_rows, self.part_rows(batch_rows))
        if not batch_rows <= self.min_rows <= planned_rows:
            raise ValueError(
                f"min_rows: expected {batch_rows} (a batch) to {planned_rows} (the training rows of the store); "
                f"received {self.min_rows}"
            )
        return self.min_rows
