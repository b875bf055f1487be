"""Rows that are read from disk again in every epoch, a window at a time, the next window while this one is used."""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from stores.ahead import ahead
from stores.fetch import Fetch, Piece, ViewRule, places_from
from stores.plan import BatchPlan
from stores.reader import Store
from stores.spec import Part
from stores.tensors import read_part


@dataclass(frozen=True)
class _Window:
    """Places first to last - 1 of an epoch: this rank's rows among them, in order, in memory."""

    epoch: int
    first: int
    last: int
    before: np.ndarray  # before[i]: how many of the places first to first + i - 1 are this rank's
    positions: np.ndarray
    values: dict[str, torch.Tensor]
    slots: dict[str, np.ndarray]

    def span(self, first: int, last: int) -> slice:
        """Where the places first to last - 1 are among this rank's rows, as far as they lie in this window."""
        start, stop = (int(self.before[min(max(place, self.first), self.last) - self.first]) for place in (first, last))
        return slice(start, stop)


class StreamedRows:
    """The selected rows of some parts, read in the order in which they are used."""

    def __init__(self, store: Store, parts: list[Part], rows: np.ndarray, view: ViewRule, verify: bool) -> None:
        self.store, self.parts, self.rows, self.view, self.verify = store, parts, rows, view, verify

    def batches(self, plan: BatchPlan, epoch: int, step: int, endless: bool) -> Iterator[Fetch]:
        """What each batch from a place on is made of."""
        held: deque[_Window] = deque()
        windows = ahead(self._windows(plan, epoch, step, endless), 1)
        try:
            for at_epoch, at_step in places_from(epoch, step, plan.steps_per_epoch, endless):
                first, last = plan.places(at_step)
                while not held or (held[-1].epoch, held[-1].last) < (at_epoch, last):
                    held.append(next(windows))
                while (held[0].epoch, held[0].last) <= (at_epoch, first) and len(held) > 1:
                    held.popleft()
                yield _fetch(at_epoch, at_step, held, first, last)
        finally:
            windows.close()

    def _windows(self, plan: BatchPlan, epoch: int, step: int, endless: bool) -> Iterator[_Window]:
        begin = step * plan.batch_size
        for number in itertools.count(epoch) if endless else [epoch]:
            for first, last in itertools.pairwise(plan.sequence.windows(number).tolist()):
                if last > begin or number > epoch:
                    yield self._read(plan, number, max(first, begin if number == epoch else 0), last)

    def _read(self, plan: BatchPlan, epoch: int, first: int, last: int) -> _Window:
        own = plan.own(first, last)
        positions = plan.sequence.positions(epoch, first, last)[own]
        rows = self.rows[positions]
        records = rows * self.store.views + self.view(epoch, rows)
        read = {part.name: read_part(self.store, part, records, self.verify) for part in self.parts}
        values = {name: pair[0] for name, pair in read.items()}
        slots = {name: pair[1] for name, pair in read.items()}
        before = np.concatenate([[0], np.cumsum(own)])
        return _Window(epoch, first, last, before, positions, values, slots)


def _fetch(epoch: int, step: int, held: deque[_Window], first: int, last: int) -> Fetch:
    """The batch at places first to last - 1, from the windows that hold them."""
    spans = [(window, window.span(first, last)) for window in held if window.epoch == epoch]
    pieces = [
        Piece(span.stop - span.start, window.values, {name: slots[span] for name, slots in window.slots.items()})
        for window, span in spans
        if span.stop > span.start
    ]
    return Fetch(epoch, step, np.concatenate([window.positions[span] for window, span in spans]), pieces)
