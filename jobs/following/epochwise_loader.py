"""A loader whose epochs may each be of other rows: where it is, and what a checkpoint keeps of it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import torch

from stores import JointLoader, Loader, Store

Batch = dict[str, torch.Tensor]
StoreLoader = Loader | JointLoader


class EpochwiseLoader(ABC):
    """Batches epoch after epoch, each epoch's by a loader of its own."""

    def __init__(self) -> None:
        self._position = (0, 0)
        self.current: StoreLoader | None = None  # of the epoch that was begun last

    @abstractmethod
    def loader_of(self, epoch: int, step: int) -> tuple[StoreLoader, bool]:
        """The loader of an epoch that is begun or gone on with, and whether it is that of all later ones, too."""

    @abstractmethod
    def rows_now(self) -> Store:
        """The store to evaluate on now; for the leading rank alone."""

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the current position on, epoch after epoch."""
        while True:
            self.current, is_last = self.loader_of(*self._position)
            loader = self.current
            loader.load_state_dict(loader.state_at(*self._position))
            # Where nothing is left to be decided the loader prefetches from one epoch to the next.
            found = iter(loader) if is_last else loader.epoch(*self._position)
            with closing(found):
                for batch in found:
                    self._position = loader.position
                    yield batch
            del loader, found  # whose rows leave the memory before others come

    @property
    def last_epoch(self) -> int:
        """The epoch of the last batch."""
        epoch, step = self._position
        return epoch if step else max(0, epoch - 1)

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch, and the state of the epoch's loader; JSON values."""
        epoch, step = self._position
        inner = self.current.state_at(epoch, step) if step and self.current else None
        return {"epoch": epoch, "step": step, "loader": inner}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position; in the middle of an epoch with that epoch's own rows.

        Raises:
            ValueError: no state of such a loader, or the rows are not what they were.
        """
        if state.keys() != {"epoch", "step", "loader"}:
            raise ValueError(f"loader state: expected epoch, step and loader; received {state!r:.80}; start a new run")
        self._position = (int(state["epoch"]), int(state["step"]))
        if self._position[1]:
            self.current, _ = self.loader_of(*self._position)
            self.current.load_state_dict(state["loader"])
