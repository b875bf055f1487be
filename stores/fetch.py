"""What a batch is made of: which rows, and where in memory their values are."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from stores.plan import RANDOM_VIEW, random_views


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a batch that lie in one buffer per part: `values[part][slots[part][i]]` is the i-th."""

    count: int
    values: dict[str, torch.Tensor]
    slots: dict[str, np.ndarray]


@dataclass(frozen=True)
class Fetch:
    """A batch to be: positions int64 (B,) of its rows in the selection, and its pieces in order."""

    epoch: int
    step: int
    positions: np.ndarray
    pieces: list[Piece]

    def gather(self, part: str, out: torch.Tensor) -> None:
        """Copy the part's values into `out` (B, *row_shape)."""
        start = 0
        for piece in self.pieces:
            values = piece.values[part]
            slots = torch.from_numpy(piece.slots[part]).to(values.device)
            torch.index_select(values, 0, slots, out=out[start : start + piece.count])
            start += piece.count


@dataclass(frozen=True)
class ViewRule:
    """Which view of a row is read in an epoch: always one, or one drawn anew each epoch."""

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
        """int64 view of each row."""
        if isinstance(self.view, int):
            return np.full(len(rows), self.view, np.int64)
        return random_views(self.seed, epoch, rows, self.views)


def places_from(epoch: int, step: int, steps_per_epoch: int, endless: bool) -> Iterator[tuple[int, int]]:
    """(epoch, step) of the batches to come."""
    for number in itertools.count(epoch) if endless else [epoch]:
        for at in range(step if number == epoch else 0, steps_per_epoch):
            yield number, at
