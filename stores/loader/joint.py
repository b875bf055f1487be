"""Batches of two stores with the same rows, such as latents and captions: one order, views drawn alone or together."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from stores.core import Store
from stores.format import combine_seeds
from stores.loader.epoch_dataset import EpochLoader
from stores.loader.loader import Loader, SentGroup, resident_bytes
from stores.loader.options import RANDOM_VIEW, TRAIN, LoaderOptions, LoaderRank, choose_residency
from stores.loader.selection import array_names, checked_stores, selected_rows
from stores.loader.transfer import Batch, BufferPools, Transfer
from stores.loader.windows import LoaderCursor

# Separates the random views of the second store from those of the first.
_SECOND = 2
Batches = Generator[Batch, None, None]


class JointLoader(EpochLoader):
    """A `Loader` of each store in step: a batch has the arrays of both, "row", and "label" of the first.

    Rows, order, resume and ranks are as `Loader` promises; a random view of each store is drawn independently, so that
    a mirrored image meets every caption; with `same_views` both have the same one. Residency "auto" has one budget for
    both; the larger store streams first. The order is a full shuffle unless one streams. Then shards are shuffled,
    those of the second store if it streams (captions are the larger ones), else those of the first; the other store is
    read in the same order, in a few long runs, since its rows are the same. Each store's values are gathered by its own
    loader; nothing is copied twice.

    Args:
        first: a complete store.
        second: a complete store with the same rows.
        arrays: names of the arrays of `first` to deliver.
        second_arrays: names of the arrays of `second` to deliver.
        second_view: the view of the second store; `options.view` is that of the first.
        same_views: a row's view is the same in both, as of latents and the features that they were made of; then
            `second_view` is not read.
        options: settings of both, see `LoaderOptions`.
        settings: fields of `LoaderOptions` that replace those of `options`.

    Raises:
        ValueError: stores of other rows, or an option that does not fit one of them.
        TypeError: a setting that does not exist, or something of another type.
    """

    def __init__(
        self,
        first: Store,
        second: Store,
        arrays: tuple[str, ...] = ("latents",),
        second_arrays: tuple[str, ...] = ("states", "length", "pooled"),
        second_view: str | int = RANDOM_VIEW,
        same_views: bool = False,
        options: LoaderOptions | None = None,
        **settings: Any,
    ) -> None:
        options = LoaderOptions.of(options, settings)
        checked_stores((first, second))
        common = set(array_names(arrays)) & set(array_names(second_arrays))
        if common:
            raise ValueError(f"second_arrays: expected other names than arrays; received {min(common)!r} in both")
        if first.num_rows != second.num_rows:
            raise ValueError(
                f"{second.url}: expected the {first.num_rows} rows of {first.url}; received {second.num_rows}"
            )
        if same_views and first.views != second.views:
            raise ValueError(f"{second.url}: expected {first.views} views as in {first.url}; received {second.views}")
        if options.order == "class-balanced" and not np.array_equal(first.labels, second.labels):
            raise ValueError(
                f"{second.url}: order: class-balanced: expected the labels of {first.url}; received others"
            )
        second_view = options.view if same_views else second_view
        rows = selected_rows(first, options, None if options.rows is None else np.asarray(options.rows))
        sizes = [
            resident_bytes(first, arrays, len(rows), options.view),
            resident_bytes(second, second_arrays, len(rows), second_view),
        ]
        residencies = _residencies(options, sizes)
        order = ("shards" if "stream" in residencies else "full") if options.order == "auto" else options.order
        leader = first if residencies[0] == "stream" != residencies[1] else second
        shard_rows = options.shard_rows or leader.manifest.rows_per_shard
        shared = replace(options, split=TRAIN, rows=rows, order=order, shard_rows=shard_rows)
        self.first = Loader(first, arrays, shared, residency=residencies[0])
        self.second = Loader(
            second,
            second_arrays,
            shared,
            residency=residencies[1],
            view=second_view,
            view_seed=options.random_view_seed if same_views else combine_seeds(options.random_view_seed, _SECOND),
            labels=False,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.first.steps_per_epoch

    @property
    def device(self) -> torch.device:
        """Where batches are delivered."""
        return self.first.device

    @property
    def position(self) -> tuple[int, int]:
        """Epoch and step of the batch that comes next."""
        return self.first.position

    def mean_std(self, array: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of an array's channels in the store that has it, see `Loader.mean_std`."""
        return (self.first if array in self.first.stores[0].arrays else self.second).mean_std(array)

    def order_facts(self) -> dict[str, Any]:
        """What the order of batches depends on; JSON values."""
        return {"first": self.first.order_facts(), "second": self.second.order_facts()}

    def state_at(self, epoch: int, step: int) -> dict[str, Any]:
        """The state of a loader that goes on there."""
        return {"first": self.first.state_at(epoch, step), "second": self.second.state_at(epoch, step)}

    def renew(self) -> None:
        """Drop buffers and locks, which a forked process cannot share with its parent."""
        self.first.renew()
        self.second.renew()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position, at once.

        Raises:
            ValueError: no state, one of another order, or of a loader of one store.
        """
        position = self.position_of(state)
        self.first.load_state_dict(state["first"])
        self.second.load_state_dict(state["second"])
        assert self.position == position

    def position_of(self, state: dict[str, Any]) -> tuple[int, int]:
        """Epoch and step of a saved state; errors as of `load_state_dict`."""
        if not isinstance(state, Mapping) or state.keys() != {"first", "second"}:
            raise ValueError(f"loader state: expected that of two stores; received {state!r:.80}; start a new run")
        first, second = self.first.position_of(state["first"]), self.second.position_of(state["second"])
        if first != second:
            raise ValueError(f"loader state: expected one position of both stores; received {first} and {second}")
        return first

    def _batches(self, epoch: int, step: int, endless: bool = True, stride: int = 1) -> Generator[Batch, None, None]:
        first = self.first._batches(epoch, step, endless, stride)
        return _zip_batches(first, self.second._batches(epoch, step, endless, stride))

    def sent(self, cursor: LoaderCursor) -> Iterator[tuple[SentGroup, SentGroup]]:
        """Batches of both from there on, as `Loader.sent`; the cursor's groups are of one batch."""
        first, second = self.first.sent(cursor), self.second.sent(cursor)
        try:
            while True:
                # Kept by no name, so that a batch that is dropped frees its buffers at once.
                yield next(first), next(second)
        except StopIteration:
            return

    def received(self, sent: tuple[SentGroup, SentGroup]) -> list[Batch]:
        """The batch, as `Loader.received`."""
        (ours,), (theirs,) = self.first.received(sent[0]), self.second.received(sent[1])
        return [theirs | ours]

    @property
    def batch_bytes(self) -> int:
        """Bytes of this rank's part of a batch of both."""
        return self.first.batch_bytes + self.second.batch_bytes

    def name_store(self, number: int) -> None:
        """Deliver "store", see `Loader.name_store`."""
        self.first.name_store(number)

    def share(self, buffers: BufferPools, transfer: Transfer) -> None:
        """Share buffers and transfer, see `Loader.share`."""
        self.first.share(buffers, transfer)
        self.second.share(buffers, transfer)


def _zip_batches(first: Batches, second: Batches) -> Generator[Batch, None, None]:
    """Batches of both as one; each loader's thread ends with this."""
    with closing(first), closing(second):
        for ours, theirs in zip(first, second, strict=True):
            yield theirs | ours


def _residencies(options: LoaderOptions, sizes: list[int]) -> list[str]:
    """Where each store's rows live: both where they fit together, else the smaller alone where it does."""
    device, world_size = torch.device(options.device), LoaderRank.of(options).world_size
    both = choose_residency(options.residency, sum(sizes), device, world_size)
    if options.residency != "auto" or both != "stream":
        return [both, both]
    smaller = sizes.index(min(sizes))
    residencies = ["stream", "stream"]
    residencies[smaller] = choose_residency("auto", sizes[smaller], device, world_size)
    return residencies
