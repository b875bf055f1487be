"""The rows that a loader reads, of one store or of several, numbered as one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import google_crc32c
import numpy as np
import torch

from stores.core import Store, row_numbers
from stores.format import SPLITS, ArraySpec, Statistics, combine_seeds, merge
from stores.loader.epoch_orders import Draws
from stores.loader.options import ALL_SPLITS, LoaderOptions, ViewRule, shares

# Separates the random views of the second store and those after it from those of the first.
_NEXT_STORE = 5


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of some stores; a *position* is an index into all of them, the first store's first.

    Attributes:
        stores: the stores.
        rows_of: int64 rows of each store.
        views: which view of each store's rows is read.
    """

    stores: tuple[Store, ...]
    rows_of: tuple[np.ndarray, ...]
    views: tuple[ViewRule, ...]

    @classmethod
    def of(cls, stores: tuple[Store, ...], options: LoaderOptions) -> "Selection":
        """What the options select.

        Raises:
            ValueError: no store, a split without rows, rows that are not ok, or a view that a store does not have.
            TypeError: rows that are no row numbers.
        """
        if not stores:
            raise ValueError("store: expected one store or more; received none")
        given = _rows_of_each(options, len(stores))
        rows = tuple(selected_rows(store, options, some) for store, some in zip(stores, given, strict=True))
        seeds = [options.random_view_seed]
        seeds += [combine_seeds(options.random_view_seed, _NEXT_STORE, number) for number in range(1, len(stores))]
        views = (ViewRule(options.view, store.views, seed) for store, seed in zip(stores, seeds, strict=True))
        return cls(stores, rows, tuple(views))

    @property
    def is_single(self) -> bool:
        """Whether the rows are of one store."""
        return len(self.stores) == 1

    @property
    def num_rows(self) -> int:
        """Rows of all stores."""
        return int(self.starts[-1])

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 (stores + 1,): where each store's positions begin."""
        return np.cumsum([0, *(len(rows) for rows in self.rows_of)])

    @cached_property
    def rows(self) -> np.ndarray:
        """int64 row in its store, by position."""
        return np.concatenate(self.rows_of) if len(self.rows_of) > 1 else self.rows_of[0]

    @cached_property
    def store_numbers(self) -> np.ndarray:
        """int64 number of the store, by position."""
        return np.repeat(np.arange(len(self.stores)), np.diff(self.starts))

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 class by position, -1 where there is none."""
        labels = [store.labels[rows] for store, rows in zip(self.stores, self.rows_of, strict=True)]
        return np.concatenate(labels) if len(labels) > 1 else labels[0]

    def part(self, numbers: Sequence[int]) -> "Selection":
        """The rows of some of the stores."""
        return Selection(
            tuple(self.stores[number] for number in numbers),
            tuple(self.rows_of[number] for number in numbers),
            tuple(self.views[number] for number in numbers),
        )

    def shards(self, shard_rows: int | None) -> np.ndarray:
        """int64 shard by position, of so many rows or of the stores' own; numbers of several stores differ."""
        found, start = [], 0
        for store, rows in zip(self.stores, self.rows_of, strict=True):
            size = shard_rows or store.manifest.rows_per_shard
            found.append(rows // size + start)
            start += store.num_rows // size + 1
        return np.concatenate(found)

    def by_store(self, draws: Draws) -> Iterator[tuple[int, np.ndarray | slice, Draws]]:
        """Each store of which there are rows: its number, which of the draws are its own, and those."""
        if self.is_single:
            yield 0, slice(None), draws
            return
        numbers = self.store_numbers[draws.positions]
        for number in np.unique(numbers).tolist() or [0]:
            mask = numbers == number
            yield number, mask, draws.where(mask)

    def specs(self, arrays: Sequence[str]) -> list[ArraySpec]:
        """The arrays, which must be alike in all stores.

        Raises:
            ValueError: a store does not have them, or has them of another shape or dtype.
        """
        specs = checked_arrays(self.stores[0], arrays)
        for store in self.stores[1:]:
            for ours, theirs in zip(specs, checked_arrays(store, arrays), strict=True):
                if (ours.row_shape, ours.dtype) != (theirs.row_shape, theirs.dtype):
                    raise ValueError(
                        f"{store.url}: {ours.name}: expected {ours.row_shape} {ours.dtype} as in "
                        f"{self.stores[0].url}; received {theirs.row_shape} {theirs.dtype}"
                    )
        return specs

    def statistics(self, array: str, weights: Sequence[float] | None) -> Statistics:
        """Of all rows of all stores, or of a blend of them with these weights."""
        found = [store.statistics(array) for store in self.stores]
        if self.is_single:
            return found[0]
        counts = np.array([one.count for one in found])
        return merge(found, counts if weights is None else shares(weights, len(found)))

    def mean_std(
        self, array: str, weights: Sequence[float] | None, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of `statistics`, each float32 (C,) on a device."""
        found = self.statistics(array, weights)
        mean, std = (torch.from_numpy(values).float().to(device) for values in (found.mean, found.std))
        return mean, std

    @cached_property
    def labels_crc32c(self) -> int:
        """Of all labels, by position."""
        return int(google_crc32c.value(self.labels.astype("<i8")))

    @cached_property
    def identity(self) -> dict[str, object]:
        """What names these rows in a loader's state; JSON values."""
        ids = [store.content_id for store in self.stores]
        sums = [google_crc32c.value(rows.astype("<i8")) for rows in self.rows_of]
        if self.is_single:
            return {"content_id": ids[0], "rows_crc32c": sums[0]}
        return {"content_id": ids, "rows_crc32c": sums}


def selected_rows(store: Store, options: LoaderOptions, rows: np.ndarray | None) -> np.ndarray:
    """int64 rows of a store: the given ones in their order, or those of the split, ascending.

    Raises:
        ValueError: the split has no row, or there are rows that are not ok.
        TypeError: a mask or fractions in place of row numbers.
    """
    if rows is not None:
        return _checked_rows(store, row_numbers(rows))
    found = split_rows(store, options)
    if not len(found):
        counts = {split: count for split in SPLITS if (count := len(store.rows(split)))}
        raise ValueError(
            f"{store.url}: split: expected one that has rows, of {counts} or {ALL_SPLITS!r}; received {options.split!r}"
        )
    return found


def split_rows(store: Store, options: LoaderOptions) -> np.ndarray:
    """int64 rows of a store that are ok and of the split, ascending; there may be none."""
    return store.rows(None if options.split == ALL_SPLITS else options.split)


def checked_stores(stores: object) -> tuple[Store, ...]:
    """One store or several as a tuple.

    Raises:
        TypeError: something else.
    """
    several = isinstance(stores, Iterable) and not isinstance(stores, str | bytes)
    found: list[Store] = []
    for one in stores if several else (stores,):  # type: ignore[attr-defined]
        if not isinstance(one, Store):
            raise TypeError(
                f"store: expected a Store or a list of them; received {type(one).__name__} {one!r:.80}; "
                "open it with stores.open_store"
            )
        found.append(one)
    return tuple(found)


def array_names(arrays: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple.

    Raises:
        TypeError: something else than a list of names.
        ValueError: a name that is given twice.
    """
    if isinstance(arrays, str) or not isinstance(arrays, Iterable) or not all(isinstance(one, str) for one in arrays):
        raise TypeError(f'arrays: expected a list of names; received {arrays!r:.80}; give such as ("latents",)')
    twice = [name for name in arrays if list(arrays).count(name) > 1]
    if twice:
        raise ValueError(f"arrays: expected each name once; received {twice[0]!r} {twice.count(twice[0])} times")
    return tuple(arrays)


def checked_arrays(store: Store, arrays: Sequence[str]) -> list[ArraySpec]:
    """The arrays of these names.

    Raises:
        ValueError: no name, or an unknown one.
    """
    unknown = [name for name in arrays if name not in store.arrays]
    if unknown or not arrays:
        raise ValueError(f"arrays: expected some of {list(store.arrays)}; received {list(arrays)}")
    return [store.arrays[name] for name in arrays]


def _rows_of_each(options: LoaderOptions, count: int) -> list[np.ndarray | None]:
    if options.rows is None:
        return [None] * count
    if count == 1:
        return [np.asarray(options.rows)]
    if len(options.rows) != count:
        raise ValueError(f"rows: expected a list of {count} arrays, one for each store; received {len(options.rows)}")
    return [np.asarray(rows) for rows in options.rows]


def _checked_rows(store: Store, rows: np.ndarray) -> np.ndarray:
    if rows.ndim != 1 or not len(rows):
        raise ValueError(f"rows: expected a list of one row number or more; received the shape {rows.shape}")
    inside = (rows >= 0) & (rows < store.num_rows)
    usable = inside & store.ok[np.where(inside, rows, 0)]
    if not usable.all():
        raise ValueError(f"rows: expected rows that are ok (store.rows()); received {int(rows[~usable][0])}")
    return rows
