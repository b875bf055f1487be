"""Batches cut out of windows: stretches of an epoch whose rows are worked out, or read from disk, as one."""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from stores.loader.batch_sampler import BatchPlan, places_from
from stores.loader.prefetch import ahead

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
class Run:
    """Consecutive batches from (epoch, step) on that are gathered as one: `pieces` are the rows of all of them."""

    epoch: int
    step: int
    count: int
    pieces: list[Piece]


@dataclass(frozen=True)
class _Window:
    """Places first to last - 1 of an epoch: the rows among them that this rank reads, in order."""

    epoch: int
    first: int
    last: int
    before: np.ndarray  # before[i]: how many of the places first to first + i - 1 this rank reads
    columns: Columns
    places: Places
    whole: dict[tuple[int, int], Run]  # the runs of batches that lie here from end to end, by epoch and step

    def pieces(self, first: int, last: int) -> list[Piece]:
        """The rows at places first to last - 1 as far as they lie here: one piece or none."""
        start, stop = (int(self.before[min(max(place, self.first), self.last) - self.first]) for place in (first, last))
        if start == stop:
            return []
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        return [Piece(stop - start, columns, self.places.part(start, stop))]


def runs_of(
    source: RowSource, plan: BatchPlan, columns: Columns, epoch: int, step: int, endless: bool, most: int
) -> Iterator[Run]:
    """The batches from a place on, up to `most` at once; `columns` hold a value for each row of the selection."""
    held: deque[_Window] = deque()
    windows = ahead(_windows(source, plan, columns, epoch, step, endless, most), source.read_ahead)
    places = places_from(epoch, step, plan.steps_per_epoch, endless)
    try:
        for at_epoch, at_step in places:
            first, last = plan.places(at_step)
            while held and (held[0].epoch, held[0].last) <= (at_epoch, first):
                held.popleft()
            while not held or (held[-1].epoch, held[-1].last) < (at_epoch, last):
                held.append(next(windows))
            run = held[0].whole.get((at_epoch, at_step))
            if run is None:
                run = Run(at_epoch, at_step, 1, [piece for window in held for piece in window.pieces(first, last)])
            yield run
            _skip(places, run.count - 1)
    finally:
        windows.close()


def _skip(items: Iterator[object], count: int) -> None:
    deque(itertools.islice(items, count), maxlen=0)


def _windows(
    source: RowSource, plan: BatchPlan, columns: Columns, epoch: int, step: int, endless: bool, most: int
) -> Iterator[_Window]:
    begin = step * plan.batch_size
    for number in itertools.count(epoch) if endless else [epoch]:
        for first, last in itertools.pairwise(source.bounds(plan, number).tolist()):
            if number > epoch or last > begin:
                start = max(first, begin if number == epoch else 0)
                yield _open(source, plan, columns, number, start, last, most)


def _open(
    source: RowSource, plan: BatchPlan, columns: Columns, epoch: int, first: int, last: int, most: int
) -> _Window:
    own = plan.own(first, last)
    positions = plan.sequence.positions(epoch, first, last)[own]
    before = np.concatenate([[0], np.cumsum(own)])
    chosen = torch.from_numpy(positions)
    here = {name: column[chosen] for name, column in columns.items()}
    places = source.locate(epoch, positions)
    window = _Window(epoch, first, last, before, here, places, {})
    first_step, past = -(-first // plan.batch_size), last // plan.batch_size
    for step in range(first_step, past, most):
        count = min(most, past - step)
        pieces = window.pieces(plan.places(step)[0], plan.places(step + count - 1)[1])
        window.whole[epoch, step] = Run(epoch, step, count, pieces)
    return window
