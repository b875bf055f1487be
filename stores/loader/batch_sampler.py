"""Which rows make which batch: a pure function of (seed, epoch, step, global batch), whatever the number of ranks."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stores.loader.epoch_orders import Sequence


@dataclass(frozen=True)
class BatchPlan:
    """A sequence of rows cut into global batches of `batch_size`, of which this rank takes its slice.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    sequence: Sequence
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
        return self.sequence.num_rows

    @property
    def steps_per_epoch(self) -> int:
        """Global batches of an epoch."""
        full, rest = divmod(self.num_rows, self.batch_size)
        return full + (0 if self.drop_last or rest == 0 else 1)

    def places(self, step: int) -> tuple[int, int]:
        """First and past-the-end place in the epoch of this rank's rows of a batch."""
        start = step * self.batch_size
        length = min(self.batch_size, self.num_rows - start)
        first, last = (start + length * part // self.world_size for part in (self.rank, self.rank + 1))
        return first, last

    def own(self, first: int, last: int) -> np.ndarray:
        """Which of the places first to last - 1 of an epoch this rank reads, bool (last - first,)."""
        places = np.arange(first, last)
        if self.world_size == 1:
            return places < self.steps_per_epoch * self.batch_size
        step, offset = np.divmod(places, self.batch_size)
        length = np.minimum(self.batch_size, self.num_rows - step * self.batch_size)
        lower, upper = (length * part // self.world_size for part in (self.rank, self.rank + 1))
        return (step < self.steps_per_epoch) & (lower <= offset) & (offset < upper)


def places_from(epoch: int, step: int, steps_per_epoch: int, endless: bool) -> Iterator[tuple[int, int]]:
    """(epoch, step) of the batches from a place on: to the end of the epoch, or without end."""
    for number in itertools.count(epoch) if endless else [epoch]:
        for at in range(step if number == epoch else 0, steps_per_epoch):
            yield number, at
