"""Batches of a store's rows for a trainer, as fast as memory allows, in an order that can be resumed at any step."""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import google_crc32c
import numpy as np
import torch

from stores.ahead import ahead
from stores.buffers import BufferPool
from stores.fingerprint import explain_difference
from stores.plan import RANDOM_VIEW, BatchPlan, random_views
from stores.reader import Store
from stores.residency import ResidentRows, choose_residency
from stores.transfer import Batch, Transfer


class Loader:
    """Iterates over batches without end; `epoch(e)` gives exactly one epoch.

    A batch is a dict: each array's values (B, *row_shape) in the stored dtype on `device`, "row" int64 (B,) and, when
    `labels`, "label" int64 (B,), -1 where there is none. `batch_size` is the global batch: a rank gets
    batch_size / world_size rows of each. The order is a pure function of (seed, epoch, step, batch_size).

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
        shuffle: bool = True,
        drop_last: bool = True,
        prefetch: int = 2,
        labels: bool = True,
    ) -> None:
        self.store, self.arrays, self.device = store, tuple(arrays), torch.device(device)
        self.rows = store.rows() if rows is None else _checked_rows(store, np.asarray(rows, np.int64))
        self.view, self.prefetch, self.labels = view, prefetch, labels
        self.plan = BatchPlan(len(self.rows), batch_size, seed, shuffle, drop_last, rank, world_size)
        views = _views_needed(store, view)
        unknown = [name for name in self.arrays if name not in store.arrays]
        if unknown or not self.arrays:
            raise ValueError(f"arrays: expected some of {list(store.arrays)}; received {list(self.arrays)}")
        num_bytes = len(self.rows) * len(views) * sum(store.arrays[name].record_bytes for name in self.arrays)
        self.residency = choose_residency(residency, num_bytes, self.device)
        place = self.device if self.residency == "device" else torch.device("cpu")
        self._source = ResidentRows(store, self.arrays, self.rows, views, place)
        self._labels = store.labels[self.rows] if labels else None
        self._pools: dict[tuple[str, int], BufferPool] = {}
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
        plan = self.plan
        return {
            "content_id": self.store.content_id,
            "rows_crc32c": google_crc32c.value(self.rows.astype("<i8")),
            "batch_size": plan.batch_size,
            "seed": plan.seed,
            "shuffle": plan.shuffle,
            "drop_last": plan.drop_last,
            "view": self.view,
        }

    def _run(self, epoch: int, step: int, endless: bool) -> Iterator[Batch]:
        places = _places(epoch, step, self.steps_per_epoch, endless)
        prepared = ((place, self._transfer.send(partial(self._build, *place))) for place in places)
        for (at_epoch, at_step), sent in ahead(prepared, self.prefetch):
            last = at_step + 1 == self.steps_per_epoch
            self._epoch, self._step = (at_epoch + 1, 0) if last else (at_epoch, at_step + 1)
            yield self._transfer.receive(*sent)

    def _build(self, epoch: int, step: int) -> Batch:
        positions = self.plan.positions(epoch, step)
        rows = self.rows[positions]
        views = self._views(epoch, rows)
        batch = {name: self._gather(name, positions, views) for name in self.arrays}
        batch["row"] = torch.from_numpy(rows)
        if self._labels is not None:
            batch["label"] = torch.from_numpy(self._labels[positions])
        return batch

    def _views(self, epoch: int, rows: np.ndarray) -> np.ndarray:
        if self.view == RANDOM_VIEW:
            return random_views(self.plan.seed, epoch, rows, self.store.views)
        return np.full(len(rows), self.view, np.int64)

    def _gather(self, name: str, positions: np.ndarray, views: np.ndarray) -> torch.Tensor:
        data = self._source.tensors[name]
        shape = (len(positions), *data.shape[1:])
        if data.device.type != "cpu":
            out = torch.empty(shape, dtype=data.dtype, device=data.device)
        else:
            pinned = self.device.type == "cuda"
            out = self._pools.setdefault((name, shape[0]), BufferPool(shape, data.dtype, pinned)).take()
        self._source.gather(name, positions, views, out)
        return out


def _places(epoch: int, step: int, steps_per_epoch: int, endless: bool) -> Iterator[tuple[int, int]]:
    """(epoch, step) of the batches to come."""
    epochs = itertools.count(epoch) if endless else [epoch]
    for number in epochs:
        for at in range(step if number == epoch else 0, steps_per_epoch):
            yield number, at


def _checked_rows(store: Store, rows: np.ndarray) -> np.ndarray:
    usable = np.isin(rows, store.rows())
    if rows.ndim != 1 or not usable.all():
        found = rows.shape if rows.ndim != 1 else int(rows[~usable][0])
        raise ValueError(f"rows: expected a list of rows that are ok (store.rows()); received {found}")
    return rows


def _views_needed(store: Store, view: str | int) -> range:
    if view == RANDOM_VIEW:
        return range(store.views)
    if isinstance(view, int) and 0 <= view < store.views:
        return range(view, view + 1)
    raise ValueError(f"view: expected {RANDOM_VIEW!r} or a number below {store.views}; received {view!r}")
