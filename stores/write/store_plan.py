"""What a new store will be: its rows in order, its manifest, its location, and what it reuses from older stores."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stores.backends import Location, inside, open_bytestore
from stores.format import (
    COMPLETE,
    INDEX,
    LAYOUT_VERSION,
    RAGGED_SCHEMA_VERSION,
    SCHEMA_VERSION,
    SMALLEST_SHARD_ROWS,
    ArraySpec,
    Manifest,
    StoreError,
    default_rows_per_shard,
    fingerprint,
)
from stores.format import index as indexing
from stores.write.reuse import SiblingStore, extended_order, plan_reuse, reusable_stores, sibling_stores


@dataclass(frozen=True)
class StorePlan:
    """A store to be: `reuse` names the rows that are copied from stores beside it (`reuse.REUSE_SCHEMA`)."""

    location: Location
    manifest: Manifest
    index: pa.Table
    reuse: pa.Table


@dataclass(frozen=True)
class StoreSpec:
    """What the caller of `StoreWriter.plan` asks for; see there."""

    parent: Location
    kind: str
    name: str
    arrays: tuple[ArraySpec, ...]
    ingredients: Mapping[str, Any]
    views: int
    attributes: Mapping[str, Any]
    rows_per_shard: int | None
    seed: int
    permute: bool
    row_ingredients: Mapping[str, Any] | None

    def manifest(
        self, table: pa.Table, rows_sha256: str, base_shard_rows: int | None = None, grown_from: str | None = None
    ) -> Manifest:
        """The manifest for rows in this order."""
        assert not {"store", "kind"} & self.ingredients.keys(), "these names are added here"
        rows = self.rows_per_shard or self._shard_rows(table.num_rows, base_shard_rows)
        layout = {
            "layout_version": LAYOUT_VERSION,
            "arrays": [spec.to_json() for spec in self.arrays],
            "views": self.views,
            "rows_per_shard": rows,
            "seed": self.seed if self.permute else None,
            "index_sha256": indexing.index_digest(table),
        }
        everything = {**self.ingredients, "kind": self.kind, "store": layout}
        attributes = {**self.attributes, **({"grown_from": grown_from} if grown_from else {})}
        return Manifest(
            kind=self.kind,
            name=self.name,
            num_rows=table.num_rows,
            views=self.views,
            rows_per_shard=rows,
            seed=self.seed,
            arrays=self.arrays,
            ingredients=everything,
            attributes=attributes,
            row_fingerprint=fingerprint(self.ingredients if self.row_ingredients is None else self.row_ingredients),
            rows_sha256=rows_sha256,
            created_unix_seconds=time.time(),
            schema_version=RAGGED_SCHEMA_VERSION if any(spec.is_ragged for spec in self.arrays) else SCHEMA_VERSION,
        )

    def _shard_rows(self, num_rows: int, base: int | None) -> int:
        """Rows per shard for a set of this size; those of an older store when they are not too small for it."""
        usual = default_rows_per_shard(self.kind, num_rows, self.views, self.arrays)
        large_enough = base is not None and base >= SMALLEST_SHARD_ROWS and 2 * base >= usual
        return base if base is not None and large_enough else usual


def plan_store(spec: StoreSpec, index: pa.Table) -> StorePlan:
    """The store that these rows and ingredients already have, or a new one that reuses what older stores hold.

    Rows whose order is free come in the seeded order; when an older store holds a part of them, they keep its order and
    the others follow, so that its shards can be copied as they are.

    Raises:
        ValueError: a malformed index, array or ingredient.
    """
    table = indexing.complete_index(index)
    table = table.sort_by("key") if spec.permute else table
    rows_sha256 = indexing.index_digest(table)
    ordered = indexing.permuted_index(table, spec.seed) if spec.permute else table
    manifest = spec.manifest(ordered, rows_sha256)
    stores = sibling_stores(spec.parent)
    existing = _existing_store(spec, stores, manifest, table)
    if existing is not None:
        return existing
    reusable = reusable_stores(spec.parent, stores, manifest)
    for folder, store in reusable if spec.permute else []:
        same_seed = store.manifest.ingredients["store"]["seed"] == spec.seed
        extended = extended_order(table, store.index, spec.seed) if same_seed else None
        if extended is not None:
            ordered, base = extended, store.manifest
            manifest = spec.manifest(extended, rows_sha256, base.rows_per_shard, grown_from=folder.rpartition("-")[2])
            break
    location = inside(spec.parent, f"{spec.name}-{manifest.fingerprint[:12]}")
    return StorePlan(location, manifest, ordered, plan_reuse(ordered, reusable))


def _existing_store(
    spec: StoreSpec, stores: list[SiblingStore], planned: Manifest, table: pa.Table
) -> StorePlan | None:
    """A store of the same name, rows and ingredients, whatever the order of its rows; finished ones first."""
    same = [
        one for one in stores if one.manifest.name == spec.name and _fixed(spec, one.manifest) == _fixed(spec, planned)
    ]
    for one in sorted(same, key=lambda one: one.manifest.status != COMPLETE):
        location = inside(spec.parent, one.folder)
        ordered = _ordered_like(location, one.manifest, table)
        if ordered is not None:
            return StorePlan(location, one.manifest, ordered, plan_reuse(ordered, []))
    return None


def _fixed(spec: StoreSpec, manifest: Manifest) -> dict[str, Any]:
    """The ingredients without what an older store may decide: row order, layout and, when left open, shard size."""
    free = {"index_sha256", "layout_version"} | ({"rows_per_shard"} if spec.rows_per_shard is None else set())
    store = {name: value for name, value in manifest.ingredients["store"].items() if name not in free}
    return {**manifest.ingredients, "store": store, "rows_sha256": manifest.rows_sha256}


def _ordered_like(location: Location, manifest: Manifest, table: pa.Table) -> pa.Table | None:
    """The rows in the order in which a store has them; None when its index cannot be read."""
    import pyarrow.compute as pc  # a fifth of a second, which listings do without

    blobs = open_bytestore(location)
    try:
        keys = indexing.index_from_bytes(blobs.read(INDEX), blobs.url, manifest.num_rows, ["key"])["key"]
    except (StoreError, OSError):
        return None
    order = pc.index_in(keys, table["key"])
    if order.null_count or len(order) != table.num_rows:
        return None
    ordered = indexing.with_row_numbers(table.take(order))
    return ordered if indexing.index_digest(ordered) == manifest.ingredients["store"]["index_sha256"] else None
