"""Batches cut out of windows: stretches of an epoch whose rows are worked out, or read from disk, as one."""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from stores.ahead import ahead
from stores.plan import BatchPlan, places_from

Columns = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Places:
    """Where rows lie in memory: the i-th one's values of a part are `values[part][slots[part][i]]`."""

    values: dict[str, torch.Tensor]
    slots: dict[str, torch.Tensor]

    def part(self, start: int, stop: int) -> "Places":
        """The same for rows start to stop - 1."""
        return Places(self.values, {name: slots[start:stop] for name, slots in self.slots.items()})


class RowSource(Protocol):
    """Something that has rows in memory, or brings them there."""

    read_ahead: int

    def bounds(self, plan: BatchPlan, epoch: int) -> np.ndarray:
        """Places (0, ..., rows of the epoch) that cut an epoch into windows."""

    def locate(self, epoch: int, positions: np.ndarray) -> Places:
        """Make sure that rows, given as positions in the selection, are in memory."""


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a batch out of one window: their row numbers and the like, and where their values are."""

    count: int
    columns: Columns
    places: Places


@dataclass(frozen=True)
class _Window:
    """Places first to last - 1 of an epoch: the rows among them that this rank reads, in order."""

    epoch: int
    first: int
    last: int
    before: np.ndarray  # before[i]: how many of the places first to first + i - 1 this rank reads
    columns: Columns
    places: Places
    first_step: int
    whole: list[Piece]  # the batches from `first_step` on that lie here from end to end

    def batch(self, epoch: int, step: int) -> list[Piece] | None:
        """The one piece of a batch that lies here from end to end."""
        place = step - self.first_step
        return [self.whole[place]] if epoch == self.epoch and 0 <= place < len(self.whole) else None

    def pieces(self, first: int, last: int) -> list[Piece]:
        """The rows at places first to last - 1 as far as they lie here: one piece or none."""
        start, stop = (int(self.before[min(max(place, self.first), self.last) - self.first]) for place in (first, last))
        if start == stop:
            return []
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        return [Piece(stop - start, columns, self.places.part(start, stop))]


def batches_of(
    source: RowSource, plan: BatchPlan, columns: Columns, epoch: int, step: int, endless: bool
) -> Iterator[tuple[int, int, list[Piece]]]:
    """(epoch, step, pieces) of each batch from a place on; `columns` hold a value for each row of the selection."""
    held: deque[_Window] = deque()
    windows = ahead(_windows(source, plan, columns, epoch, step, endless), source.read_ahead)
    try:
        for at_epoch, at_step in places_from(epoch, step, plan.steps_per_epoch, endless):
            ready = held[0].batch(at_epoch, at_step) if held else None
            if ready is not None:
                yield at_epoch, at_step, ready
                continue
            first, last = plan.places(at_step)
            while held and (held[0].epoch, held[0].last) <= (at_epoch, first):
                held.popleft()
            while not held or (held[-1].epoch, held[-1].last) < (at_epoch, last):
                held.append(next(windows))
            yield at_epoch, at_step, [piece for window in held for piece in window.pieces(first, last)]
    finally:
        windows.close()


def _windows(
    source: RowSource, plan: BatchPlan, columns: Columns, epoch: int, step: int, endless: bool
) -> Iterator[_Window]:
    begin = step * plan.batch_size
    for number in itertools.count(epoch) if endless else [epoch]:
        for first, last in itertools.pairwise(source.bounds(plan, number).tolist()):
            if number > epoch or last > begin:
                yield _open(source, plan, columns, number, max(first, begin if number == epoch else 0), last)


def _open(source: RowSource, plan: BatchPlan, columns: Columns, epoch: int, first: int, last: int) -> _Window:
    own = plan.own(first, last)
    positions = plan.sequence.positions(epoch, first, last)[own]
    before = np.concatenate([[0], np.cumsum(own)])
    chosen = torch.from_numpy(positions)
    here = {name: column[chosen] for name, column in columns.items()}
    places = source.locate(epoch, positions)
    first_step = -(-first // plan.batch_size)
    count = max(0, last // plan.batch_size - first_step)
    start = int(before[plan.places(first_step)[0] - first]) if count else 0
    whole = _split(here, places, start, count, plan.batch_size // plan.world_size)
    return _Window(epoch, first, last, before, here, places, first_step, whole)


def _split(columns: Columns, places: Places, start: int, count: int, rows: int) -> list[Piece]:
    """`count` pieces of `rows` rows each, from row `start` of a window on; cut in one go, as that is cheaper."""
    stop = start + count * rows
    cut = {name: column[start:stop].split(rows) for name, column in columns.items()}
    slots = {name: values[start:stop].split(rows) for name, values in places.slots.items()}
    return [
        Piece(
            rows,
            {name: column[number] for name, column in cut.items()},
            Places(places.values, {name: values[number] for name, values in slots.items()}),
        )
        for number in range(count)
    ]
