"""Growth: the order of an image set that contains an older one, and rows that are copied instead of computed again."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stores.backends import Location, inside, open_bytestore
from stores.core import Store, read_manifest
from stores.format import COMPLETE, Manifest, Permutation, StoreError, with_row_numbers

REUSE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("store", pa.string(), nullable=False),
        pa.field("donor_row", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class SiblingStore:
    """A store beside the planned one (its folder's name), finished or not."""

    folder: str
    manifest: Manifest


def sibling_stores(parent: Location) -> list[SiblingStore]:
    """Every store directly below `parent` whose manifest can be read."""
    found = []
    for folder in open_bytestore(parent).folders():
        try:
            found.append(SiblingStore(folder, read_manifest(open_bytestore(inside(parent, folder)))))
        except (StoreError, OSError, ValueError):
            continue  # No store, or a damaged one: nothing is taken from it.
    return found


def reusable_stores(parent: Location, stores: list[SiblingStore], planned: Manifest) -> list[tuple[str, Store]]:
    """Complete stores whose rows were made as the planned ones are: same encoder, arrays and views; largest first."""
    chosen = [one for one in stores if one.manifest.status == COMPLETE and _makes_same_rows(one.manifest, planned)]
    chosen.sort(key=lambda one: (-one.manifest.num_rows, one.folder))
    opened = [(one.folder, Store(open_bytestore(inside(parent, one.folder)), one.manifest)) for one in chosen]
    return [(folder, store) for folder, store in opened if _has_index(store)]


def grown_order(table: pa.Table, base: pa.Table, seed: int) -> pa.Table | None:
    """The rows in the order of `base`, then the new ones in the seeded order; None when a row of `base` is missing.

    table: an index sorted by key. An image is the same when its bytes are; a key that fits as well goes first.
    """
    position = _match(table, base)
    if len(np.unique(position[position >= 0])) < base.num_rows:
        return None
    old = np.flatnonzero(position >= 0)
    new = np.flatnonzero(position < 0)
    new = new[Permutation(len(new), seed)(np.arange(len(new)))]
    order = np.concatenate([old[np.argsort(position[old], kind="stable")], new])
    return with_row_numbers(table.take(pa.array(order)))


def plan_reuse(table: pa.Table, donors: list[tuple[str, Store]]) -> pa.Table:
    """Which rows of an index can be copied, from which store and row (REUSE_SCHEMA); the first donor that has one."""
    store = np.full(table.num_rows, -1)
    donor_row = np.full(table.num_rows, -1)
    for number, (_, donor) in enumerate(donors):
        open_rows = np.flatnonzero(store < 0)
        rows = donor.rows()
        digests = donor.index["sha256"].take(pa.array(rows))
        found = pc.index_in(table["sha256"].take(pa.array(open_rows)), digests).fill_null(-1).to_numpy()
        store[open_rows[found >= 0]] = number
        donor_row[open_rows[found >= 0]] = rows[found[found >= 0]]
    rows = np.flatnonzero(store >= 0)
    names = pa.array([folder for folder, _ in donors], pa.string())
    columns = [pa.array(rows), names.take(pa.array(store[rows])), pa.array(donor_row[rows])]
    return pa.table(columns, schema=REUSE_SCHEMA)


def _makes_same_rows(one: Manifest, planned: Manifest) -> bool:
    same = ("kind", "row_fingerprint", "arrays", "views")
    return all(getattr(one, name) == getattr(planned, name) for name in same)


def _has_index(store: Store) -> bool:
    try:
        return len(store.index) == store.num_rows
    except (StoreError, OSError):
        return False


def _match(table: pa.Table, base: pa.Table) -> np.ndarray:
    """int64: the row of `base` that holds each row's image, -1 for none; no row of `base` comes twice."""
    named = pc.index_in(_key_and_digest(table), _key_and_digest(base)).fill_null(-1).to_numpy().astype(np.int64)
    left = np.setdiff1d(np.arange(base.num_rows), named)
    free: dict[str, list[int]] = defaultdict(list)
    for row, digest in zip(left[::-1].tolist(), base["sha256"].take(pa.array(left[::-1])).to_pylist(), strict=True):
        free[digest].append(row)
    unnamed = np.flatnonzero(named < 0)
    for at, digest in zip(unnamed.tolist(), table["sha256"].take(pa.array(unnamed)).to_pylist(), strict=True):
        if free.get(digest):
            named[at] = free[digest].pop()
    return named


def _key_and_digest(table: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(table["sha256"], table["key"], " ")
