"""Batches of a store's rows for a trainer, as fast as memory allows, in an order that can be resumed at any step."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import google_crc32c
import numpy as np
import torch

from stores.core import Store
from stores.format import ArraySpec, Part, explain_difference
from stores.loader.batch_sampler import BatchPlan
from stores.loader.buffers import BufferPool
from stores.loader.epoch_orders import FullShuffle, InOrder, ShardShuffle
from stores.loader.prefetch import ahead
from stores.loader.residency import choose_residency
from stores.loader.row_sources import ResidentRows, StreamedRows
from stores.loader.tensors import Batch, decode
from stores.loader.transfer import Transfer
from stores.loader.views import RANDOM_VIEW, ViewRule
from stores.loader.windows import Piece, runs_of

ORDERS = ("auto", "full", "shards")
# What a streaming loader reads at once when its order is not made of whole shards.
WINDOW_BYTES = 512 << 20
# Small batches are gathered several at once: a gather empties the processor's caches, and Python starts cold after it.
RUN_BYTES = 16 << 20


class Loader:
    """Iterates over batches without end; `epoch(e)` gives exactly one epoch.

    A batch is a dict on `device`: each array's values (B, *row_shape) in the stored dtype (float32 for int8), "row"
    int64 (B,) and, when `labels`, "label" int64 (B,), -1 where there is none. `batch_size` is the global batch: a rank
    gets batch_size / world_size rows of each.

    `residency` "device", "ram" or "stream" says where the rows live; "auto" takes the fastest that is large enough.
    `order` "full" shuffles all rows; "shards" shuffles shards, `stream_shards` or more at a time, and is the default
    when streaming; `shard_rows` may stand for the rows of a shard, so that two stores of the same rows have one order.
    Either is a pure function of (seed, epoch, step, batch_size). `view` is a view's number, or "random" for one drawn
    for each row and epoch by `view_seed` (`seed` when absent). `verify` compares each record's checksum when it is read
    from disk.
    `prefetch` is how many gathers a thread makes ahead, of a batch or of 16 MiB of smaller ones; 0 uses no thread.

    Raises:
        ValueError: an option or a combination that does not fit the store.
    """

    def __init__(
        self,
        store: Store,
        arrays: Sequence[str] = ("latents",),
        rows: np.ndarray | None = None,
        batch_size: int = 256,
        seed: int = 0,
        residency: str = "auto",
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        view: str | int = RANDOM_VIEW,
        order: str = "auto",
        shuffle: bool = True,
        drop_last: bool = True,
        prefetch: int = 2,
        labels: bool = True,
        verify: bool = True,
        stream_shards: int = 4,
        view_seed: int | None = None,
        shard_rows: int | None = None,
    ) -> None:
        self.store, self.arrays, self.device = store, tuple(arrays), torch.device(device)
        self.rows = store.rows() if rows is None else _checked_rows(store, np.asarray(rows, np.int64))
        self.seed, self.prefetch = seed, prefetch
        self._specs = _checked_arrays(store, self.arrays)
        self._parts = [part for spec in self._specs for part in spec.parts]
        self._view = ViewRule(view, store.views, seed if view_seed is None else view_seed)
        self._shard_rows = shard_rows or store.manifest.rows_per_shard
        row_bytes = sum(spec.record_bytes for spec in self._specs)
        held_bytes = resident_bytes(store, self.arrays, len(self.rows), view)
        self.residency = choose_residency(residency, held_bytes, self.device, world_size)
        self.order = _choose_order(order, self.residency, shuffle)
        sequence = _sequence(self.order, self.rows, self._shard_rows, seed, stream_shards, row_bytes)
        self.plan = BatchPlan(sequence, batch_size, drop_last, rank, world_size)
        self._source = self._open_source(verify)
        self._columns = {"row": torch.from_numpy(self.rows)}
        if labels:
            self._columns["label"] = torch.from_numpy(store.labels[self.rows])
        self._most = max(1, RUN_BYTES * world_size // (row_bytes * batch_size))
        self._pools: dict[str, BufferPool] = {}
        self._transfer = Transfer(self.device)
        self._epoch, self._step = 0, 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.plan.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the current position on, epoch after epoch."""
        return self._run(self._epoch, self._step, endless=True)

    def epoch(self, epoch: int, step: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from `step` on."""
        return self._run(epoch, step, endless=False)

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch handed out, and what the order depends on; JSON values."""
        return {"epoch": self._epoch, "step": self._step, "order": self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position, at once.

        Raises:
            ValueError: the state is of another order (other rows, seed or batch size).
        """
        changed = explain_difference(state["order"], self._identity())
        if changed:
            raise ValueError(
                f"loader state: expected the order it was saved with; changed: {'; '.join(changed)}; start a new run"
            )
        self._epoch, self._step = int(state["epoch"]), int(state["step"])

    def _identity(self) -> dict[str, Any]:
        own = {"view_seed": self._view.seed, "shard_rows": self._shard_rows}
        usual = {"view_seed": self.seed, "shard_rows": self.store.manifest.rows_per_shard}
        return {
            "content_id": self.store.content_id,
            "rows_crc32c": google_crc32c.value(self.rows.astype("<i8")),
            "batch_size": self.plan.batch_size,
            "seed": self.seed,
            "order": self.order,
            "drop_last": self.plan.drop_last,
            "view": self._view.view,
            **{name: value for name, value in own.items() if value != usual[name]},
        }

    def _open_source(self, verify: bool) -> ResidentRows | StreamedRows:
        if self.residency == "stream":
            return StreamedRows(self.store, self._parts, self.rows, self._view, verify)
        place = self.device if self.residency == "device" else torch.device("cpu")
        return ResidentRows(self.store, self._parts, self.rows, self._view, place, verify)

    def _run(self, epoch: int, step: int, endless: bool) -> Iterator[Batch]:
        runs = runs_of(self._source, self.plan, self._columns, epoch, step, endless, self._most)
        sent = ((run, *self._transfer.send(partial(self._gather, run.pieces), self._finish)) for run in runs)
        for run, values, arrived in ahead(sent, self.prefetch):
            batches = self._cut(self._transfer.receive(values, arrived), run.count)
            del values
            for number in range(run.count):
                last = run.step + number + 1 == self.steps_per_epoch
                self._epoch, self._step = (run.epoch + 1, 0) if last else (run.epoch, run.step + number + 1)
                yield batches.pop()

    def _cut(self, values: Batch, count: int) -> list[Batch]:
        """The batches of a run, the first one last."""
        if count == 1:
            return [values]
        rows = self.plan.batch_size // self.plan.world_size
        cut = {name: tensor.split(rows) for name, tensor in values.items()}
        return [{name: parts[number] for name, parts in cut.items()} for number in reversed(range(count))]

    def _gather(self, pieces: list[Piece]) -> Batch:
        """The stored parts of some batches, still where their rows reside."""
        batch = {part.name: self._gather_part(part, pieces) for part in self._parts}
        if len(pieces) == 1:
            return batch | pieces[0].columns
        for name in self._columns:
            batch[name] = torch.cat([piece.columns[name] for piece in pieces])
        return batch

    def _gather_part(self, part: Part, pieces: list[Piece]) -> torch.Tensor:
        count = sum(piece.count for piece in pieces)
        data = pieces[0].places.values[part.name]
        out = self._buffer(part.name, (count, *part.row_shape), data.dtype, data.device)
        start, flat = 0, out.view(count, -1)  # (B, h, w, C) -> (B, h*w*C)
        for piece in pieces:
            target = flat[start : start + piece.count]
            torch.index_select(piece.places.values[part.name], 0, piece.places.slots[part.name], out=target)
            start += piece.count
        return out

    def _finish(self, batch: Batch) -> Batch:
        """Parts to values, on the device."""
        values = {spec.name: decode(spec, batch, partial(self._value_buffer, spec.name)) for spec in self._specs}
        return values | {name: batch[name] for name in self._columns}

    def _value_buffer(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        return self._buffer(f"{name} values", shape, torch.float32, self.device)

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        if device.type != "cpu":
            return torch.empty(shape, dtype=dtype, device=device)
        if name not in self._pools:
            self._pools[name] = BufferPool(shape[1:], dtype, pinned=self.device.type == "cuda")
        return self._pools[name].take(shape[0])


def resident_bytes(store: Store, arrays: Sequence[str], rows: int, view: str | int = RANDOM_VIEW) -> int:
    """What the rows of a loader take when they are all in memory."""
    views = len(ViewRule(view, store.views, 0).needed())
    return rows * views * sum(spec.record_bytes for spec in _checked_arrays(store, tuple(arrays)))


def _choose_order(order: str, residency: str, shuffle: bool) -> str:
    if order not in ORDERS:
        raise ValueError(f"order: expected one of {', '.join(ORDERS)}; received {order!r}")
    if not shuffle:
        return "stored"
    return ("shards" if residency == "stream" else "full") if order == "auto" else order


def _sequence(
    order: str, rows: np.ndarray, shard_rows: int, seed: int, stream_shards: int, row_bytes: int
) -> InOrder | FullShuffle | ShardShuffle:
    if not len(rows):
        raise ValueError("rows: expected at least one row; received none")
    if order == "shards":
        return ShardShuffle(rows // shard_rows, seed, stream_shards)
    window_rows = max(1, WINDOW_BYTES // row_bytes)
    return InOrder(len(rows), window_rows) if order == "stored" else FullShuffle(len(rows), seed, window_rows)


def _checked_arrays(store: Store, arrays: tuple[str, ...]) -> list[ArraySpec]:
    unknown = [name for name in arrays if name not in store.arrays]
    if unknown or not arrays:
        raise ValueError(f"arrays: expected some of {list(store.arrays)}; received {list(arrays)}")
    return [store.arrays[name] for name in arrays]


def _checked_rows(store: Store, rows: np.ndarray) -> np.ndarray:
    if rows.ndim != 1:
        raise ValueError(f"rows: expected a list of row numbers; received the shape {rows.shape}")
    inside = (rows >= 0) & (rows < store.num_rows)
    usable = inside & store.ok[np.where(inside, rows, 0)]
    if not usable.all():
        raise ValueError(f"rows: expected rows that are ok (store.rows()); received {int(rows[~usable][0])}")
    return rows
