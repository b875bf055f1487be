"""What a loader may be asked for, where its rows live, and which view of a row is read."""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stores.core import Store
from stores.format import SPLITS, combine_seeds, mix64

RANDOM_VIEW = "random"
ORDERS = ("auto", "full", "shards")
RESIDENCIES = ("auto", "device", "ram", "stream")
TRAIN, ALL_SPLITS = "train", "all"
# The rest stays for the model, its optimizer, other processes and the page cache.
DEVICE_SHARE = 0.4
RAM_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class LoaderOptions:
    """Settings that `Loader` and `JointLoader` share; both take them as keywords, too.

    Attributes:
        split: rows to read, "train", "val", "test" or "all". A store that holds nothing out is all "train".
        rows: int64 store rows to read in place of a split's.
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

    split: str = TRAIN
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
        if self.split not in (*SPLITS, ALL_SPLITS):
            raise ValueError(f"split: expected one of {', '.join((*SPLITS, ALL_SPLITS))}; received {self.split!r}")
        if self.rows is not None and self.split != TRAIN:
            raise ValueError(f"split: expected none beside rows, which say what is read; received {self.split!r}")

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


def selected_rows(store: Store, options: LoaderOptions) -> np.ndarray:
    """int64 rows of a store that the options select, in the order in which they are given, ascending by default.

    Raises:
        ValueError: the split has no row, or there are rows that are not ok.
    """
    if options.rows is not None:
        return _checked_rows(store, np.asarray(options.rows, np.int64))
    rows = store.rows(None if options.split == ALL_SPLITS else options.split)
    if not len(rows):
        counts = {split: count for split in SPLITS if (count := len(store.rows(split)))}
        raise ValueError(
            f"{store.url}: split: expected one that has rows, of {counts} or {ALL_SPLITS!r}; received {options.split!r}"
        )
    return rows


def _checked_rows(store: Store, rows: np.ndarray) -> np.ndarray:
    if rows.ndim != 1 or not len(rows):
        raise ValueError(f"rows: expected a list of one row number or more; received the shape {rows.shape}")
    inside = (rows >= 0) & (rows < store.num_rows)
    usable = inside & store.ok[np.where(inside, rows, 0)]
    if not usable.all():
        raise ValueError(f"rows: expected rows that are ok (store.rows()); received {int(rows[~usable][0])}")
    return rows


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
