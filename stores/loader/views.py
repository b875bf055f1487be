"""Which view of a row is read in an epoch."""

from dataclasses import dataclass

import numpy as np

from stores.format import combine_seeds, mix64

RANDOM_VIEW = "random"


@dataclass(frozen=True)
class ViewRule:
    """Always one view, or one drawn anew for each row and epoch.

    Raises:
        ValueError: a view that the store does not have.
    """

    view: str | int
    views: int
    seed: int

    def __post_init__(self) -> None:
        fixed = isinstance(self.view, int) and 0 <= self.view < self.views
        if not fixed and self.view != RANDOM_VIEW:
            raise ValueError(f"view: expected {RANDOM_VIEW!r} or a number below {self.views}; received {self.view!r}")

    def needed(self) -> range:
        """The views that can come."""
        return range(self.view, self.view + 1) if isinstance(self.view, int) else range(self.views)

    def __call__(self, epoch: int, rows: np.ndarray) -> np.ndarray:
        """int64 view of each store row; a pure function, so equal on every rank and after a resume."""
        if isinstance(self.view, int):
            return np.full(len(rows), self.view, np.int64)
        return (mix64(rows, combine_seeds(self.seed, epoch, 1)) % np.uint64(self.views)).astype(np.int64)
