"""Batches cut out of windows: stretches of an epoch whose rows are located, or read from disk, as one."""

import itertools
from collections.abc import Generator, Iterator
from contextlib import closing
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
    """Consecutive batches from (epoch, step) on that are gathered as one; `segments` are all their rows.

    Of a batch that goes on in the next window `num_batches` is 0.
    """

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


def batch_groups(
    source: RowSource, sampler: BatchSampler, columns: Columns, start: LoaderCursor
) -> Iterator[BatchGroup]:
    """The batches from `start` on; `columns` hold a value for each row of the selection."""
    begun: list[Segment] = []
    with closing(prefetched(_windows(source, sampler, columns, start), source.prefetch_windows)) as windows:
        for group in itertools.chain.from_iterable(windows):
            if begun or not group.num_batches:
                # The last batch of an epoch may have fewer rows than there are ranks; it has one segment at least.
                begun = [one for one in (*begun, *group.segments) if one.num_rows] or group.segments
                group = group._replace(segments=begun)
            if group.num_batches:
                begun = []
                yield group
            del group  # what a window read is let go of before the next one is asked for


def _windows(
    source: RowSource, sampler: BatchSampler, columns: Columns, start: LoaderCursor
) -> Generator[list[BatchGroup], None, None]:
    """The batches of each window that has some."""
    begin = start.step * sampler.batch_size
    for epoch in itertools.count(start.epoch) if start.endless else [start.epoch]:
        for first, last in itertools.pairwise(source.windows(sampler, epoch).tolist()):
            first = max(first, begin if epoch == start.epoch else 0)
            if first < min(last, sampler.delivered_rows):
                yield _open_window(source, sampler, columns, (epoch, first, last), start)


def _open_window(
    source: RowSource, sampler: BatchSampler, columns: Columns, at: tuple[int, int, int], start: LoaderCursor
) -> list[BatchGroup]:
    epoch, first, last = at
    mask = sampler.rank_mask(first, last)
    if start.stride > 1:
        mask &= (np.arange(first, last) // sampler.batch_size - start.step) % start.stride == 0
    draws = sampler.order.draws(epoch, first, last).where(mask)
    # numpy's look-up of single numbers is several times as fast as torch's.
    here = {name: torch.from_numpy(column.numpy()[draws.positions]) for name, column in columns.items()}
    cuts = list(_cuts(sampler, first, last, start))
    # How many of the rows up to each cut this rank reads; it reads none between a cut and the beginning of the next.
    ends = np.cumsum(mask)[np.array([cut.last for cut in cuts], np.int64) - first - 1]
    sizes = np.diff(ends, prepend=0).tolist()
    segments = zip(sizes, split_columns(here, sizes), source.locate(draws).split(sizes), strict=True)
    return [
        BatchGroup(epoch, cut.step, cut.num_batches, [Segment(*segment)])
        for cut, segment in zip(cuts, segments, strict=True)
    ]


class _Cut(NamedTuple):
    """The part of a `BatchGroup` up to the offset last - 1."""

    step: int
    num_batches: int
    last: int


def _cuts(sampler: BatchSampler, first: int, last: int, start: LoaderCursor) -> Iterator[_Cut]:
    """The groups in the window of offsets first to last - 1, of as many whole batches as are gathered at once."""
    size, delivered = sampler.batch_size, sampler.delivered_rows
    step = first // size
    step += (start.step - step) % start.stride
    while step * size < min(last, delivered):
        whole = last // size - step if step * size >= first else 0
        count = max(1, min(start.max_batches, whole))
        end = min((step + count) * size, delivered)
        yield _Cut(step, count if end <= last else 0, min(end, last))
        step += max(count, start.stride)


def split_columns(columns: Columns, sizes: list[int]) -> list[Columns]:
    """The columns of each so many rows, which share their memory."""
    parts = zip(*(torch.split(column, sizes) for column in columns.values()), strict=True)
    return [dict(zip(columns, part, strict=True)) for part in parts] if columns else [{} for _ in sizes]
