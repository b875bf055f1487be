"""Rows that are read once and stay in memory."""

from collections.abc import Iterator

import numpy as np
import torch

from stores.fetch import Fetch, Piece, ViewRule, places_from
from stores.plan import BatchPlan
from stores.reader import Store
from stores.spec import Part
from stores.tensors import read_part


class ResidentRows:
    """All selected rows of some parts, on the device or in this machine's memory."""

    def __init__(
        self, store: Store, parts: list[Part], rows: np.ndarray, view: ViewRule, device: torch.device, verify: bool
    ) -> None:
        self.rows, self.view = rows, view
        needed = view.needed()
        records = (rows[:, None] * store.views + np.array(needed)).reshape(-1)  # (N, V) -> (N*V,)
        read = {part.name: read_part(store, part, records, verify) for part in parts}
        self.values = {name: values.to(device) for name, (values, _) in read.items()}
        self._slots = {name: slots.reshape(len(rows), len(needed)) for name, (_, slots) in read.items()}
        self._first_view = needed.start

    def batches(self, plan: BatchPlan, epoch: int, step: int, endless: bool) -> Iterator[Fetch]:
        """What each batch from a place on is made of."""
        for at_epoch, at_step in places_from(epoch, step, plan.steps_per_epoch, endless):
            positions = plan.positions(at_epoch, at_step)
            columns = self.view(at_epoch, self.rows[positions]) - self._first_view
            slots = {name: table[positions, columns] for name, table in self._slots.items()}
            yield Fetch(at_epoch, at_step, positions, [Piece(len(positions), self.values, slots)])
