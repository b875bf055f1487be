"""What a loader may be asked for, where its rows live, and which view of a row is read."""

import os
from collections.abc import Sequence, Sized
from dataclasses import dataclass, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stores.backends import machine_memory_bytes
from stores.core import DEFAULT_CACHE_BYTES
from stores.format import SPLITS, combine_seeds, mix64
from stores.loader.ragged import LONGEST, PADDINGS

RANDOM_VIEW = "random"
ORDERS = ("auto", "full", "shards", "class-balanced")
RESIDENCIES = ("auto", "device", "ram", "stream")
# Each so many rows of a blend hold exactly the shares of its stores.
BLEND_ROWS = 10_000
# Gathers that a thread makes ahead of reads from disk and copies to a GPU.
PREFETCH_DEPTH = 2
TRAIN, ALL_SPLITS = "train", "all"
# The rest stays for the model, its optimizer, other processes and the page cache.
DEVICE_SHARE = 0.4
RAM_SHARE = 0.5
STREAM_SHARDS = 4
# The least value of each setting that is a number.
_LEAST = {
    "batch_size": 1,
    "seed": None,
    "rank": 0,
    "world_size": 1,
    "prefetch": 0,
    "stream_shards": 1,
    "window_bytes": 1,
    "view_seed": None,
    "shard_rows": 1,
    "pad_to_multiple_of": 1,
    "cache_bytes": 1,
}
_SWITCHES = ("shuffle", "drop_last", "labels", "verify", "uneven_ranks")


@dataclass(frozen=True, kw_only=True, eq=False)
class LoaderOptions:
    """Settings that `Loader` and `JointLoader` share; both take them as keywords, too.

    Attributes:
        split: rows to read, "train", "val", "test" or "all". A store that holds nothing out is all "train".
        rows: int64 store rows to read in place of a split's; of several stores a list, one for each.
        weights: of several stores, the share of each in what is read, kept to a ten-thousandth, see `Blend`; without
            weights every row of every store comes once an epoch.
        batch_size: rows of a global batch; a rank gets batch_size / world_size of them.
        seed: of the order and, unless `view_seed` is given, of the views.
        residency: "device", "ram" or "stream" (from disk); "auto" is the fastest whose memory budget holds the rows.
        device: where batches are delivered.
        rank: this process among `world_size`, given together with it; by default that of torch's process group, where
            there is one.
        world_size: processes that share each global batch; by default those of torch's process group.
        view: the number of a view, or "random" for one drawn for each row and epoch.
        order: "full" shuffles all rows; "shards" shuffles shards and then the rows of `stream_shards` of them; "auto"
            is "shards" when streaming, else "full"; "class-balanced" draws every class equally often, see
            `ClassBalanced`.
        shuffle: False delivers the rows as they are stored.
        drop_last: leave out the batch at the end of an epoch that is not full.
        prefetch: gathers that a thread makes before they are asked for, each of a batch or of 8 MiB of smaller ones;
            0 uses no thread. By default 2, and 0 where rows in memory are delivered there, see `choose_prefetch`.
        labels: deliver "label".
        verify: compare the checksum of each record when it is read from disk.
        stream_shards: shards whose rows are shuffled together, at least; of a bucket set those of all stores, and of
            each store one at least.
        window_bytes: what is read from disk at once in an order that is not made of whole shards; the next as many are
            read meanwhile.
        view_seed: seed of the random views.
        shard_rows: rows of a shard for the order "shards", by default the store's own.
        padding: of ragged arrays: "longest" fills sequences up with zeros to the batch's longest, "max_length" to the
            store's, "packed" delivers tokens end to end with `<array>_cu_seqlens` int32 (B + 1,).
        cache_dir: a folder of this machine for copies of the shards of stores at URLs, see `open_store`.
        cache_bytes: how much the copies may take.
        uneven_ranks: a rank's part of a batch may be a row larger than another's; else `batch_size` is a multiple of
            `world_size`.
        pad_to_multiple_of: rounds the length of "longest" up, for compiled models, which run slower at every new one.
    """

    split: str = TRAIN
    rows: np.ndarray | Sequence[np.ndarray] | None = None
    weights: Sequence[float] | None = None
    batch_size: int = 256
    seed: int = 0
    residency: str = "auto"
    device: torch.device | str = "cpu"
    rank: int | None = None
    world_size: int | None = None
    view: str | int = RANDOM_VIEW
    order: str = "auto"
    shuffle: bool = True
    drop_last: bool = True
    prefetch: int | None = None
    labels: bool = True
    verify: bool = True
    stream_shards: int = STREAM_SHARDS
    window_bytes: int = 512 << 20
    view_seed: int | None = None
    shard_rows: int | None = None
    padding: str = LONGEST
    uneven_ranks: bool = False
    pad_to_multiple_of: int = 1
    cache_dir: Path | str | None = None
    cache_bytes: int = DEFAULT_CACHE_BYTES

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if not (getattr(self, name) is None and getattr(LoaderOptions, name) is None):
                check_integer(name, getattr(self, name), least)
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise TypeError(f"{name}: expected True or False; received {getattr(self, name)!r}")
        for name in ("rows", "weights"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), Sized):
                raise TypeError(f"{name}: expected a list; received {getattr(self, name)!r:.80}")
        if self.padding not in PADDINGS:
            raise ValueError(f"padding: expected one of {', '.join(PADDINGS)}; received {self.padding!r}")
        if self.order not in ORDERS:
            raise ValueError(f"order: expected one of {', '.join(ORDERS)}; received {self.order!r}")
        if self.rank is not None and self.world_size is None:
            raise ValueError(f"world_size: expected a number beside rank; received none and the rank {self.rank}")
        if self.rank is None and self.world_size is not None and self.world_size > 1:
            raise ValueError(
                f"rank: expected the number of this process beside world_size {self.world_size}; received none; give "
                f"rank, 0 to {self.world_size - 1}, or neither under torch's process group"
            )
        if self.residency not in RESIDENCIES:
            raise ValueError(f"residency: expected one of {', '.join(RESIDENCIES)}; received {self.residency!r}")
        if not self.shuffle and self.order != "auto":
            raise ValueError(f"order: expected none beside shuffle=False, the stored order; received {self.order!r}")
        if self.split not in (*SPLITS, ALL_SPLITS):
            raise ValueError(f"split: expected one of {', '.join((*SPLITS, ALL_SPLITS))}; received {self.split!r}")
        if self.rows is not None and self.split != TRAIN:
            raise ValueError(f"split: expected none beside rows, which say what is read; received {self.split!r}")

    @property
    def random_view_seed(self) -> int:
        """The seed of the random views."""
        return self.seed if self.view_seed is None else self.view_seed

    @classmethod
    def of(cls, options: "LoaderOptions | None", settings: dict[str, Any], **usual: Any) -> "LoaderOptions":
        """The options, by default `usual`, with some fields replaced.

        Raises:
            TypeError: something else than options, or a name that is no field.
        """
        if options is not None and not isinstance(options, cls):
            raise TypeError(
                f"options: expected LoaderOptions; received {type(options).__name__} {options!r:.80}; give settings "
                "as keywords, such as batch_size=64"
            )
        return (cls(**usual) if options is None else options).with_settings(settings)

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


def check_integer(name: str, value: object, least: int | None = None) -> None:
    """Refuse what is no integer, or is below `least`.

    Raises:
        TypeError: no integer; True and False are none here.
        ValueError: below `least`.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer; received {value!r:.80}")
    if least is not None and value < least:
        raise ValueError(f"{name}: expected at least {least}; received {value}")


@dataclass(frozen=True)
class LoaderRank:
    """This process among those that share each global batch; when not `is_given`, that of torch's process group."""

    rank: int
    world_size: int
    is_given: bool

    @classmethod
    def of(cls, options: LoaderOptions) -> "LoaderRank":
        """What the options say, or the process group."""
        if options.world_size is not None:
            return cls(options.rank or 0, options.world_size, True)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(torch.distributed.get_rank(), torch.distributed.get_world_size(), False)
        return cls(0, 1, False)

    def check(self) -> None:
        """Refuse to read every row on every rank, when a process group was made after the loader.

        Raises:
            RuntimeError: another process group than the one that this rank is of.
        """
        if self.is_given:
            return
        now = LoaderRank.of(LoaderOptions())
        if self != now:
            raise RuntimeError(
                f"loader: expected torch's process group as it was when the loader was made, rank {self.rank} of "
                f"{self.world_size}; received rank {now.rank} of {now.world_size}; make the loader after the process "
                "group, or give it rank and world_size"
            )


def shares(weights: Sequence[float], count: int) -> np.ndarray:
    """int64 (count,) rows of each store among BLEND_ROWS, by largest remainders, one at least.

    Raises:
        ValueError: not one positive number for each store.
    """
    values = np.asarray(weights, np.float64)
    if values.shape != (count,) or not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"weights: expected {count} positive numbers, one for each store; received {list(weights)}")
    exact = values / values.sum() * BLEND_ROWS
    rows: np.ndarray = np.maximum(np.floor(exact).astype(np.int64), 1)
    while (missing := BLEND_ROWS - int(rows.sum())) > 0:
        rows[np.argsort(rows - exact, kind="stable")[:missing]] += 1
    while int(rows.sum()) > BLEND_ROWS:  # tiny shares were raised to one
        rows[np.argmax(rows)] -= 1
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
    return "ram" if num_bytes <= RAM_SHARE * machine_memory_bytes() / ranks_here else "stream"


def choose_prefetch(options: LoaderOptions, residency: str) -> int:
    """How many gathers a thread makes ahead: what the options say, else none from this machine's memory to itself.

    There a batch is one copy, and the thread would compete with the model's step for cores, cache and lock.
    """
    if options.prefetch is not None:
        return options.prefetch
    return 0 if residency != "stream" and torch.device(options.device).type == "cpu" else PREFETCH_DEPTH


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

    def __call__(self, visits: int | np.ndarray, rows: np.ndarray) -> np.ndarray:
        """int64 view of each store row; a pure function, so equal on every rank and after a resume.

        Args:
            visits: how often each row came before, int64 like `rows`, or the epoch for all of them.
            rows: int64 store rows.
        """
        if isinstance(self.view, int):
            return np.full(len(rows), self.view, np.int64)
        return (mix64(rows, self._seeds(visits)) % np.uint64(self.views)).astype(np.int64)

    def _seeds(self, visits: int | np.ndarray) -> int | np.ndarray:
        if isinstance(visits, int):
            return combine_seeds(self.seed, visits, 1)
        distinct, inverse = np.unique(visits, return_inverse=True)
        return np.array([combine_seeds(self.seed, int(visit), 1) for visit in distinct], np.uint64)[inverse]
