"""Batches of two stores with the same rows, latents and captions say: one order, two views drawn apart."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import torch

from stores.core import Store
from stores.format import combine_seeds
from stores.loader.loader import Loader, resident_bytes
from stores.loader.residency import choose_residency
from stores.loader.tensors import Batch
from stores.loader.views import RANDOM_VIEW

# Of the seeds of the second store's views: they must not go with the first one's.
_SECOND = 2


class JointLoader:
    """A `Loader` of each store in step: a batch has the arrays of both, "row", and "label" of the first.

    Rows, order, resume and ranks are as `Loader` promises; a random view of each is drawn for itself, so that a
    mirrored image meets every caption. `residency` "auto" has one budget for both; the larger store streams first.
    The order is a full shuffle unless one streams. Then shards are shuffled, those of the second store if it streams
    (captions are the larger ones), else those of the first; the other store is read in the same order, in a few long
    runs, since its rows are the same. Each store's values are gathered by its own loader; nothing is copied twice.

    Raises:
        ValueError: stores of other rows, or an option that does not fit one of them.
    """

    def __init__(
        self,
        first: Store,
        second: Store,
        arrays: tuple[str, ...] = ("latents",),
        second_arrays: tuple[str, ...] = ("states", "length", "pooled"),
        rows: np.ndarray | None = None,
        batch_size: int = 256,
        seed: int = 0,
        residency: str = "auto",
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        view: str | int = RANDOM_VIEW,
        second_view: str | int = RANDOM_VIEW,
        order: str = "auto",
        drop_last: bool = True,
        prefetch: int = 2,
        stream_shards: int = 4,
    ) -> None:
        if first.num_rows != second.num_rows:
            raise ValueError(
                f"{second.path}: expected the {first.num_rows} rows of {first.path}; received {second.num_rows}"
            )
        rows = first.rows() if rows is None else rows
        sizes = [
            resident_bytes(first, arrays, len(rows), view),
            resident_bytes(second, second_arrays, len(rows), second_view),
        ]
        places = _residencies(residency, sizes, torch.device(device), world_size)
        if order == "auto":
            order = "shards" if "stream" in places else "full"
        leader = first if places[1] != "stream" and places[0] == "stream" else second
        shared: dict[str, Any] = {
            "rows": rows,
            "batch_size": batch_size,
            "seed": seed,
            "device": device,
            "rank": rank,
            "world_size": world_size,
            "order": order,
            "drop_last": drop_last,
            "prefetch": prefetch,
            "stream_shards": stream_shards,
            "shard_rows": leader.manifest.rows_per_shard,
        }
        self.first = Loader(first, arrays, residency=places[0], view=view, **shared)
        self.second = Loader(
            second,
            second_arrays,
            residency=places[1],
            view=second_view,
            view_seed=combine_seeds(seed, _SECOND),
            labels=False,
            **shared,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.first.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the current position on, epoch after epoch."""
        return _together(iter(self.first), iter(self.second))

    def epoch(self, epoch: int, step: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from `step` on."""
        return _together(self.first.epoch(epoch, step), self.second.epoch(epoch, step))

    def state_dict(self) -> dict[str, Any]:
        """Both positions after the last batch handed out, and what the order depends on; JSON values."""
        return {"first": self.first.state_dict(), "second": self.second.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position, at once.

        Raises:
            ValueError: the state is of another order, or of a loader of one store.
        """
        if state.keys() != {"first", "second"}:
            raise ValueError("loader state: expected that of two stores; received that of one; start a new run")
        self.first.load_state_dict(state["first"])
        self.second.load_state_dict(state["second"])


def _together(first: Iterator[Batch], second: Iterator[Batch]) -> Iterator[Batch]:
    """Batches of both as one; each loader's thread ends with this."""
    with closing(first), closing(second):  # type: ignore[type-var]
        for ours, theirs in zip(first, second, strict=True):
            yield theirs | ours


def _residencies(residency: str, sizes: list[int], device: torch.device, world_size: int) -> list[str]:
    """Where each store's rows live: both where they fit together, else the smaller alone where it does."""
    both = choose_residency(residency, sum(sizes), device, world_size)
    if residency != "auto" or both != "stream":
        return [both, both]
    smaller = sizes.index(min(sizes))
    places = ["stream", "stream"]
    places[smaller] = choose_residency("auto", sizes[smaller], device, world_size)
    return places
