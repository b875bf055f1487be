"""Batches cut out of windows: stretches of an epoch whose rows are located, or read from disk, as one."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch

from stores.loader.batch_sampler import BatchSampler
from stores.loader.epoch_orders import Draws
from stores.loader.transfer import prefetched

Columns = dict[str, torch.Tensor]


class RowSlots(NamedTuple):
    """Where rows lie in memory: the i-th one's values of a part are `values[part][slots[part][i]]`."""

    values: dict[str, torch.Tensor]
    slots: dict[str, torch.Tensor]

    def slice(self, start: int, stop: int) -> "RowSlots":
        """The same for rows start to stop - 1."""
        return RowSlots(self.values, {name: slots[start:stop] for name, slots in self.slots.items()})

    def split(self, sizes: list[int]) -> "list[RowSlots]":
        """The same for each so many rows."""
        return [RowSlots(self.values, slots) for slots in split_columns(self.slots, sizes)]


class RowSource(Protocol):
    """Something that has rows in memory, or brings them there."""

    prefetch_windows: int

    def windows(self, sampler: BatchSampler, epoch: int) -> np.ndarray:
        """int64 offsets (0, ..., rows of the epoch) that cut an epoch into windows."""

    def renew(self) -> None:
        """Drop what a forked process cannot share with its parent."""

    def locate(self, draws: Draws) -> RowSlots:
        """Make sure that rows are in memory."""


class Segment(NamedTuple):
    """Consecutive rows of a batch out of one window: their columns (row, label), and where their values are."""

    num_rows: int
    columns: Columns
    slots: RowSlots


class BatchGroup(NamedTuple):
    """Consecutive batches from (epoch, step) on that are gathered as one; `segments` are all their rows."""

    epoch: int
    step: int
    num_batches: int
    segments: list[Segment]


@dataclass(frozen=True)
class LoaderCursor:
    """Where batches begin, and how.

    Attributes:
        epoch: that of the first batch.
        step: that of the first batch.
        endless: go on after the epoch.
        max_batches: how many are gathered at once, at most; 1 with a stride.
        stride: every so many batches of an epoch.
    """

    epoch: int
    step: int
    endless: bool
    max_batches: int
    stride: int = 1

    def steps(self, steps_per_epoch: int) -> Iterator[tuple[int, int]]:
        """(epoch, step) of each batch: to the end of the epoch, or without end."""
        for epoch in itertools.count(self.epoch) if self.endless else [self.epoch]:
            for step in range(self.step if epoch == self.epoch else 0, steps_per_epoch, self.stride):
                yield epoch, step


@dataclass(frozen=True)
class _Window:
    """Offsets first to last - 1 of an epoch: the rows among them that this rank reads, in order.

    rank_row_cumsum[i]: how many of the offsets first to first + i - 1 this rank reads. complete_batches: groups of
    batches that lie in this window from end to end, by (epoch, step).
    """

    epoch: int
    first: int
    last: int
    rank_row_cumsum: np.ndarray
    columns: Columns
    slots: RowSlots
    complete_batches: dict[tuple[int, int], BatchGroup]

    def segments(self, first: int, last: int) -> list[Segment]:
        """The rows at offsets first to last - 1 as far as they lie here: one segment or none."""
        inside = (min(max(offset, self.first), self.last) - self.first for offset in (first, last))
        start, stop = (int(self.rank_row_cumsum[at]) for at in inside)
        return [self.segment(start, stop)] if start < stop else []

    def segment(self, start: int, stop: int) -> Segment:
        """The rows start to stop - 1 of those that this rank reads here."""
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        return Segment(stop - start, columns, self.slots.slice(start, stop))


def batch_groups(
    source: RowSource, sampler: BatchSampler, columns: Columns, start: LoaderCursor
) -> Iterator[BatchGroup]:
    """The batches from `start` on; `columns` hold a value for each row of the selection."""
    open_windows: deque[_Window] = deque()
    windows = prefetched(_windows(source, sampler, columns, start), source.prefetch_windows)
    steps = start.steps(sampler.steps_per_epoch)
    try:
        for epoch, step in steps:
            group = open_windows[0].complete_batches.get((epoch, step)) if open_windows else None
            if group is None:
                first, last = sampler.offsets(step)
                while open_windows and (open_windows[0].epoch, open_windows[0].last) <= (epoch, first):
                    open_windows.popleft()
                while not open_windows or (open_windows[-1].epoch, open_windows[-1].last) < (epoch, last):
                    open_windows.append(next(windows))
                group = open_windows[0].complete_batches.get((epoch, step))
            if group is None:
                group = BatchGroup(epoch, step, 1, _segments(open_windows, first, last))
            yield group
            if group.num_batches > 1:
                deque(itertools.islice(steps, group.num_batches - 1), maxlen=0)  # skips the other batches of the group
    finally:
        windows.close()


def _segments(windows: Iterable[_Window], first: int, last: int) -> list[Segment]:
    """The rows at offsets first to last - 1, one segment at least."""
    segments = [segment for window in windows for segment in window.segments(first, last)]
    # The last batch of an epoch may have fewer rows than there are ranks.
    return segments or [[*windows][-1].segment(0, 0)]


def _windows(source: RowSource, sampler: BatchSampler, columns: Columns, start: LoaderCursor) -> Iterator[_Window]:
    begin = start.step * sampler.batch_size
    for epoch in itertools.count(start.epoch) if start.endless else [start.epoch]:
        for first, last in itertools.pairwise(source.windows(sampler, epoch).tolist()):
            if epoch > start.epoch or last > begin:
                first = max(first, begin if epoch == start.epoch else 0)
                yield _open_window(source, sampler, columns, (epoch, first, last), start)


def _open_window(
    source: RowSource, sampler: BatchSampler, columns: Columns, at: tuple[int, int, int], start: LoaderCursor
) -> _Window:
    epoch, first, last = at
    mask = sampler.rank_mask(first, last)
    if start.stride > 1:
        mask &= (np.arange(first, last) // sampler.batch_size - start.step) % start.stride == 0
    draws = sampler.order.draws(epoch, first, last).where(mask)
    rank_row_cumsum = np.concatenate([[0], np.cumsum(mask)])
    # numpy's look-up of single numbers is several times as fast as torch's.
    here = {name: torch.from_numpy(column.numpy()[draws.positions]) for name, column in columns.items()}
    window = _Window(epoch, first, last, rank_row_cumsum, here, source.locate(draws), {})
    first_step, past = -(-first // sampler.batch_size), last // sampler.batch_size
    first_step += (start.step - first_step) % start.stride
    window.complete_batches.update(_complete_batches(window, sampler.batch_size, range(first_step, past), start))
    return window


def _complete_batches(
    window: _Window, batch_size: int, steps: range, start: LoaderCursor
) -> dict[tuple[int, int], BatchGroup]:
    """The groups of the batches of `steps`, which lie in a window from end to end, cut in one go."""
    firsts = steps[:: max(start.max_batches, start.stride)]
    if not firsts:
        return {}
    counts = [min(start.max_batches, steps.stop - step) for step in firsts]
    # Between the end of a group and the beginning of the next there is no row that this rank reads.
    edges = window.rank_row_cumsum[np.array([*firsts, firsts[-1] + counts[-1]]) * batch_size - window.first]
    sizes = np.diff(edges, prepend=0, append=window.rank_row_cumsum[-1]).tolist()
    columns, slots = split_columns(window.columns, sizes)[1:-1], window.slots.split(sizes)[1:-1]
    return {
        (window.epoch, step): BatchGroup(window.epoch, step, count, [Segment(*segment)])
        for step, count, *segment in zip(firsts, counts, sizes[1:-1], columns, slots, strict=True)
    }


def split_columns(columns: Columns, sizes: list[int]) -> list[Columns]:
    """The columns of each so many rows, which share their memory."""
    parts = zip(*(torch.split(column, sizes) for column in columns.values()), strict=True)
    return [dict(zip(columns, part, strict=True)) for part in parts] if columns else [{} for _ in sizes]
