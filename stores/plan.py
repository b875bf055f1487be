"""Which rows make which batch: a pure function of (seed, epoch, step, global batch), whatever the number of ranks."""

from dataclasses import dataclass, field

import numpy as np

from stores.order import Permutation, combine_seeds, mix64

RANDOM_VIEW = "random"
# Positions worked out at once: the cost per batch of a vectorised permutation becomes small.
_BLOCK = 1 << 16


@dataclass
class BatchPlan:
    """The order of `num_rows` selected rows in global batches of `batch_size`, of which this rank takes its slice.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    num_rows: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = True
    rank: int = 0
    world_size: int = 1
    _cache: tuple[int, int, np.ndarray] = field(default=(-1, -1, np.empty(0, np.int64)), init=False, repr=False)

    def __post_init__(self) -> None:
        if self.num_rows < 1:
            raise ValueError("rows: expected at least one row; received none")
        if self.batch_size < 1 or self.batch_size % self.world_size:
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
    def steps_per_epoch(self) -> int:
        """Global batches of an epoch."""
        full, rest = divmod(self.num_rows, self.batch_size)
        return full + (0 if self.drop_last or rest == 0 else 1)

    def positions(self, epoch: int, step: int) -> np.ndarray:
        """int64 positions, in the selection, of this rank's rows of a batch."""
        start = step * self.batch_size
        stop = min(start + self.batch_size, self.num_rows)
        first, last = (start + (stop - start) * part // self.world_size for part in (self.rank, self.rank + 1))
        return self._order(epoch, first, last)

    def _order(self, epoch: int, first: int, last: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(first, last)
        blocks = [self._block(epoch, block) for block in range(first // _BLOCK, (last - 1) // _BLOCK + 1)]
        offset = first // _BLOCK * _BLOCK
        return np.concatenate(blocks)[first - offset : last - offset] if blocks else np.empty(0, np.int64)

    def _block(self, epoch: int, block: int) -> np.ndarray:
        cached_epoch, cached_block, values = self._cache
        if (cached_epoch, cached_block) != (epoch, block):
            positions = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, self.num_rows))
            values = Permutation(self.num_rows, combine_seeds(self.seed, epoch))(positions)
            self._cache = (epoch, block, values)
        return values


def random_views(seed: int, epoch: int, rows: np.ndarray, views: int) -> np.ndarray:
    """int64 view of each store row in an epoch; a pure function, so equal on every rank and after a resume."""
    return (mix64(rows, combine_seeds(seed, epoch, 1)) % np.uint64(views)).astype(np.int64)
