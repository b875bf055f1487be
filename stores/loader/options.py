"""What a loader may be asked for, where its rows live, and which view of a row is read."""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stores.format import combine_seeds, mix64

RANDOM_VIEW = "random"
ORDERS = ("auto", "full", "shards")
RESIDENCIES = ("auto", "device", "ram", "stream")
# The rest stays for the model, its optimizer, other processes and the page cache.
DEVICE_SHARE = 0.4
RAM_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class LoaderOptions:
    """Settings that `Loader` and `JointLoader` share; both take them as keywords, too.

    Attributes:
        rows: int64 store rows to read; by default all that are ok.
        batch_size: rows of a global batch; a rank gets batch_size / world_size of them.
        seed: of the order and, unless `view_seed` is given, of the views.
        residency: "device", "ram" or "stream" (from disk); "auto" is the fastest whose memory budget holds the rows.
        device: where batches are delivered.
        rank: this process among `world_size`.
        world_size: processes that share each global batch.
        view: the number of a view, or "random" for one drawn for each row and epoch.
        order: "full" shuffles all rows; "shards" shuffles shards and then the rows of `stream_shards` of them; "auto"
            is "shards" when streaming, else "full".
        shuffle: False delivers the rows as they are stored.
        drop_last: leave out the batch at the end of an epoch that is not full.
        prefetch: gathers that a thread makes before they are asked for, each of a batch or of 16 MiB of smaller ones;
            0 uses no thread.
        labels: deliver "label".
        verify: compare the checksum of each record when it is read from disk.
        stream_shards: shards whose rows are shuffled together, at least.
        view_seed: seed of the random views.
        shard_rows: rows of a shard for the order "shards", by default the store's own.
    """

    rows: np.ndarray | None = None
    batch_size: int = 256
    seed: int = 0
    residency: str = "auto"
    device: torch.device | str = "cpu"
    rank: int = 0
    world_size: int = 1
    view: str | int = RANDOM_VIEW
    order: str = "auto"
    shuffle: bool = True
    drop_last: bool = True
    prefetch: int = 2
    labels: bool = True
    verify: bool = True
    stream_shards: int = 4
    view_seed: int | None = None
    shard_rows: int | None = None

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order: expected one of {', '.join(ORDERS)}; received {self.order!r}")
        if self.residency not in RESIDENCIES:
            raise ValueError(f"residency: expected one of {', '.join(RESIDENCIES)}; received {self.residency!r}")

    @property
    def random_view_seed(self) -> int:
        """The seed of the random views."""
        return self.seed if self.view_seed is None else self.view_seed

    def with_settings(self, settings: dict[str, Any]) -> "LoaderOptions":
        """A copy with some fields replaced.

        Raises:
            TypeError: a name that is no field.
        """
        names = [field.name for field in fields(self)]
        unknown = sorted(settings.keys() - set(names))
        if unknown:
            raise TypeError(f"loader: expected options out of {', '.join(names)}; received {unknown[0]!r}")
        return replace(self, **settings)


def choose_residency(residency: str, num_bytes: int, device: torch.device, world_size: int) -> str:
    """The residency that "auto" stands for: the fastest whose budget holds `num_bytes`.

    Budgets are shares of a machine's whole memory, not of what is free now, so that all ranks decide alike.
    """
    if residency != "auto":
        return residency
    if device.type == "cuda" and num_bytes <= DEVICE_SHARE * torch.cuda.get_device_properties(device).total_memory:
        return "device"
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    return "ram" if num_bytes <= RAM_SHARE * ram_bytes() / ranks_here else "stream"


def ram_bytes() -> int:
    """This machine's memory, or this container's limit when that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(total, int(text)) if text.isdigit() else total


@dataclass(frozen=True)
class ViewRule:
    """Always one view, or a random one for each row and epoch.

    Raises:
        ValueError: a view that the store does not have.
    """

    view: str | int
    views: int
    seed: int

    def __post_init__(self) -> None:
        fixed = isinstance(self.view, int) and 0 <= self.view < self.views
        if not fixed and self.view != RANDOM_VIEW:
            raise ValueError(f"view: expected {RANDOM_VIEW!r} or a number below {self.views}; received {self.view!r}")

    def needed(self) -> range:
        """The views that may be read."""
        return range(self.view, self.view + 1) if isinstance(self.view, int) else range(self.views)

    def __call__(self, epoch: int, rows: np.ndarray) -> np.ndarray:
        """int64 view of each store row; a pure function, so equal on every rank and after a resume."""
        if isinstance(self.view, int):
            return np.full(len(rows), self.view, np.int64)
        return (mix64(rows, combine_seeds(self.seed, epoch, 1)) % np.uint64(self.views)).astype(np.int64)
