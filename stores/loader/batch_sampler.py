"""Which rows make which batch: a pure function of (seed, epoch, step, global batch), whatever the number of ranks."""

from dataclasses import dataclass

import numpy as np

from stores.loader.epoch_orders import EpochOrder


@dataclass(frozen=True)
class BatchSampler:
    """An epoch order cut into global batches of `batch_size`, of which this rank takes its slice.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    order: EpochOrder
    batch_size: int
    drop_last: bool = True
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.world_size < 1 or self.batch_size < 1 or self.batch_size % self.world_size:
            raise ValueError(
                f"batch_size: expected a positive multiple of world_size {self.world_size}; received {self.batch_size}"
            )
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank: expected 0 to {self.world_size - 1}; received {self.rank}")
        if self.drop_last and self.batch_size > self.num_rows:
            raise ValueError(
                f"batch_size: expected at most the number of rows, {self.num_rows}; received {self.batch_size}; "
                "choose a smaller one, or drop_last=False"
            )

    @property
    def num_rows(self) -> int:
        """Rows of an epoch, over all ranks."""
        return self.order.num_rows

    @property
    def steps_per_epoch(self) -> int:
        """Global batches of an epoch."""
        full, rest = divmod(self.num_rows, self.batch_size)
        return full + (0 if self.drop_last or rest == 0 else 1)

    def offsets(self, step: int) -> tuple[int, int]:
        """First and past-the-end offset of this rank's rows of a batch."""
        start = step * self.batch_size
        length = min(self.batch_size, self.num_rows - start)
        first, last = (start + length * part // self.world_size for part in (self.rank, self.rank + 1))
        return first, last

    def rank_mask(self, first: int, last: int) -> np.ndarray:
        """Which of the offsets first to last - 1 this rank reads, bool (last - first,)."""
        offsets = np.arange(first, last)
        if self.world_size == 1:
            return offsets < self.steps_per_epoch * self.batch_size
        step, in_batch = np.divmod(offsets, self.batch_size)
        length = np.minimum(self.batch_size, self.num_rows - step * self.batch_size)
        lower, upper = (length * part // self.world_size for part in (self.rank, self.rank + 1))
        mask: np.ndarray = (step < self.steps_per_epoch) & (lower <= in_batch) & (in_batch < upper)
        return mask
