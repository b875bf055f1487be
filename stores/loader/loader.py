"""Batches of a store's rows for a trainer, as fast as memory allows, in an order that can be resumed at any step."""

import math
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from stores.core import Store, with_cache
from stores.format import ArraySpec
from stores.loader.batch_sampler import BatchSampler
from stores.loader.epoch_dataset import EpochLoader
from stores.loader.gathering import BatchGatherer
from stores.loader.options import (
    RANDOM_VIEW,
    STREAM_SHARDS,
    LoaderOptions,
    LoaderRank,
    ViewRule,
    choose_prefetch,
    choose_residency,
)
from stores.loader.ordering import choose_order, make_order
from stores.loader.row_sources import ResidentRows, StreamedRows
from stores.loader.selection import Selection, array_names, checked_arrays, checked_stores
from stores.loader.transfer import Batch, BufferPools, Transfer, prefetched
from stores.loader.windows import BatchGroup, LoaderCursor, RowSource, batch_groups

# Small batches are gathered several at once: a gather empties the processor's caches, and Python starts cold after it.
# More bytes than these leave the cache that all cores share before they are read.
GROUP_BYTES = 4 << 20
# A thread that prefetches gathers more at once, since each time it hands something over costs some 40 microseconds, but
# not much more: three or four of its buffers are under way, and together they should stay in that cache.
PREFETCHED_GROUP_BYTES = 8 << 20


class SentGroup(NamedTuple):
    """Consecutive batches from (epoch, step) on, the first one last, on their way to the device."""

    epoch: int
    step: int
    batches: list[Batch]
    arrived: Any


class Loader(EpochLoader):
    """Iterates over batches without end; `epoch(e)` gives exactly one epoch.

    A batch is a dict on `device`: each array's values (B, *row_shape) in the stored dtype (float32 for 8 bits), "row"
    int64 (B,), when `labels`, "label" int64 (B,), -1 where there is none, and, of several stores, "store" int64 (B,),
    the number of the one that a row is of. Sequences of a ragged array are (B, L, ...) with the batch's longest L, or
    as `padding` says. The order is a pure function of the options and of (epoch, step), whatever the number of ranks.

    Args:
        store: a complete store, or several with arrays of the same shapes and dtypes.
        arrays: names of the arrays to deliver.
        options: settings, see `LoaderOptions`.
        settings: fields of `LoaderOptions` that replace those of `options`: `Loader(store, batch_size=64, seed=1)`.

    Raises:
        ValueError: an option or a combination that does not fit the stores.
        TypeError: a setting that does not exist, or something of another type.
    """

    def __init__(
        self,
        store: Store | Sequence[Store],
        arrays: Sequence[str] = ("latents",),
        options: LoaderOptions | None = None,
        **settings: Any,
    ) -> None:
        self.options = options = LoaderOptions.of(options, settings)
        stores = tuple(with_cache(one, options.cache_dir, options.cache_bytes) for one in checked_stores(store))
        self.arrays, self._device = array_names(arrays), torch.device(options.device)
        self.selection = selection = Selection.of(stores, options)
        self._specs = selection.specs(self.arrays)
        pairs = zip(stores, selection.rows_of, strict=True)
        num_bytes = sum(resident_bytes(one, self.arrays, len(rows), options.view) for one, rows in pairs)
        self._rank = rank = LoaderRank.of(options)
        self.residency = choose_residency(options.residency, num_bytes, self.device, rank.world_size)
        self.order = choose_order(options, self.residency)
        order = make_order(selection, self.order, options, max(1, options.window_bytes // self._row_bytes))
        self.sampler = BatchSampler(
            order, options.batch_size, options.drop_last, rank.rank, rank.world_size, options.uneven_ranks
        )
        self._source, self._prefetch = self._open_source(), choose_prefetch(options, self.residency)
        self._columns = {"row": torch.from_numpy(selection.rows)}
        if not selection.is_single:
            self._columns["store"] = torch.from_numpy(selection.store_numbers)
        if options.labels:
            self._columns["label"] = torch.from_numpy(selection.labels)
        self._gatherer = BatchGatherer(self._specs, options, self._device)
        self._transfer = Transfer(self.device)

    @property
    def stores(self) -> tuple[Store, ...]:
        """The stores that are read."""
        return self.selection.stores

    @property
    def device(self) -> torch.device:
        """Where batches are delivered."""
        return self._device

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.sampler.steps_per_epoch

    def mean_std(self, array: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of an array's channels, each float32 (C,) on `device`.

        They are the store's exact statistics, over all rows that are ok, whatever rows are read; of several stores
        those of their blend.
        """
        return self.selection.mean_std(array, self.options.weights, self.device)

    def renew(self) -> None:
        """Drop buffers and locks, which a forked process cannot share with its parent."""
        self._transfer = Transfer(self.device)
        self._gatherer.buffers.clear()
        self._source.renew()

    def __getstate__(self) -> dict[str, Any]:
        if self.device.type != "cpu":
            raise ValueError(
                f"num_workers: expected 0 for a loader on {self.device}, whose own thread prefetches; received workers"
            )
        return self.__dict__

    def order_facts(self) -> dict[str, Any]:
        """What the order of batches depends on; JSON values."""
        options, selection = self.options, self.selection
        special = {
            "view_seed": (options.random_view_seed, options.seed),
            "shard_rows": (options.shard_rows or self._own_shard_rows, self._own_shard_rows),
            "weights": (options.weights and [float(weight) for weight in options.weights], None),
            "stream_shards": (options.stream_shards if self.order == "shards" else STREAM_SHARDS, STREAM_SHARDS),
            "labels_crc32c": (selection.labels_crc32c if self.order == "class-balanced" else None, None),
        }
        return {
            **selection.identity,
            "batch_size": options.batch_size,
            "seed": options.seed,
            "order": self.order,
            "drop_last": options.drop_last,
            "view": options.view,
            **{name: value for name, (value, usual) in special.items() if value != usual},
        }

    @property
    def _own_shard_rows(self) -> int | list[int]:
        sizes = [store.manifest.rows_per_shard for store in self.stores]
        return sizes[0] if self.selection.is_single else sizes

    @property
    def _row_bytes(self) -> int:
        return max(1, sum(_mean_record_bytes(self.stores[0], spec) for spec in self._specs))

    def _open_source(self) -> RowSource:
        if self.residency == "stream":
            return StreamedRows(self.selection, self._specs, self.options.verify)
        memory = self.device if self.residency == "device" else torch.device("cpu")
        return ResidentRows(self.selection, self._specs, memory, self.options.verify)

    def _batches(self, epoch: int, step: int, endless: bool = True, stride: int = 1) -> Generator[Batch, None, None]:
        self._rank.check()
        group_bytes = PREFETCHED_GROUP_BYTES if self._prefetch else GROUP_BYTES
        max_batches = max(1, group_bytes * self.sampler.world_size // (self._row_bytes * self.options.batch_size))
        steps_per_epoch = self.steps_per_epoch
        cursor = LoaderCursor(epoch, step, endless, max_batches if stride == 1 else 1, stride)
        for sent in prefetched(self.sent(cursor), self._prefetch):
            (epoch, step), batches = sent[:2], self.received(sent)
            del sent
            for after in range(step + 1, step + 1 + len(batches)):
                self._position = (epoch, after) if after < steps_per_epoch else (epoch + 1, 0)
                yield batches.pop()

    def sent(self, cursor: LoaderCursor) -> Iterator[SentGroup]:
        """Groups of batches from there on, gathered and on their way to the device; any thread may run this."""
        return map(self._send, batch_groups(self._source, self.sampler, self._columns, cursor))

    def _send(self, group: BatchGroup) -> SentGroup:
        gatherer = self._gatherer
        # Cut here: a thread that only hands batches out does not compete for the interpreter's lock.
        sent = self._transfer.send(gatherer.gather, gatherer.cut, group, gatherer.layouts(group))
        return SentGroup(group.epoch, group.step, *sent)

    def received(self, sent: SentGroup) -> list[Batch]:
        """The batches of a group, the first one last, safe to use on the caller's current stream."""
        return sent.batches if sent.arrived is None else self._transfer.receive(sent.batches, sent.arrived)

    @property
    def batch_bytes(self) -> int:
        """Bytes of this rank's part of a batch; of ragged arrays the mean."""
        return self._row_bytes * self.options.batch_size // self.sampler.world_size

    def name_store(self, number: int) -> None:
        """Deliver "store", this number in each row."""
        self._columns["store"] = torch.tensor(number).expand(self.selection.num_rows)

    def share(self, buffers: BufferPools, transfer: Transfer) -> None:
        """Gather into the buffers of several loaders, and send by one way, so that none waits with a sent batch."""
        self._gatherer.buffers, self._transfer = buffers, transfer


def resident_bytes(store: Store, arrays: Sequence[str], num_rows: int, view: str | int = RANDOM_VIEW) -> int:
    """What the rows of a loader take when they are all in memory."""
    views = len(ViewRule(view, store.views, 0).needed())
    return num_rows * views * sum(_mean_record_bytes(store, spec) for spec in checked_arrays(store, arrays))


def _mean_record_bytes(store: Store, spec: ArraySpec) -> int:
    """Bytes of a (row, view); of a ragged array the mean."""
    if not spec.is_ragged:
        return spec.record_bytes
    tokens = store.statistics(spec.name).count // math.prod(spec.row_shape[1:-1])
    return sum(part.token_bytes for part in spec.token_parts) * tokens // max(1, len(store.rows()) * store.views)
