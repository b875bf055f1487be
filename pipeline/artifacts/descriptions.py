"""What one store or bucket set holds, in words and as JSON values."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.console import format_bytes
from stores.care import location_bytes
from stores.core import AnyStore, BucketSet, Store, open_any
from stores.format import SPLITS, ArraySpec, column_numbers


def describe_store(path: Path | str) -> dict[str, Any]:
    """A store's facts, arrays, classes, rejected rows, and what was understood of its images, as JSON values.

    Of a bucket set the facts of all stores, with each store as an array.

    Raises:
        StoreError: no complete store there.
    """
    store = open_any(path)
    if isinstance(store, BucketSet):
        return _describe_set(path, store)
    rows = store.index.select(["key", "reason"])
    rejected = [line for row in np.flatnonzero(~store.ok).tolist() for line in rows.slice(row, 1).to_pylist()]
    splits = {split: len(store.rows(split)) for split in SPLITS}
    classes = _classes([store])
    facts = {
        "kind": store.kind,
        "name": store.name,
        "fingerprint": store.fingerprint,
        "content id": store.content_id,
        "rows": store.num_rows,
        "splits": ", ".join(f"{split} {count:,}" for split, count in splits.items() if count) or "none",
        "rejected": len(rejected),
        **({"content": store.attributes["latents"]} if store.attributes.get("latents") else {}),
        "views": store.views,
        "shards": f"{store.manifest.num_shards} of {store.manifest.rows_per_shard} rows",
        "size": format_bytes(store.blobs.num_bytes()),
        "classes": len(classes) or None,
        "labels": _labels(store, classes),
        "captions": _captions([store]),
    }
    arrays = {name: f"{spec.dtype} {_shape(store, spec)}{_added(store, name)}" for name, spec in store.arrays.items()}
    return {
        "path": path,
        "facts": facts,
        "arrays": arrays,
        "ingredients": store.manifest.ingredients,
        "rejected": rejected,
        "classes": classes,
        "data": store.attributes.get("data"),
    }


def _describe_set(path: Path | str, found: BucketSet) -> dict[str, Any]:
    parts = {size: describe_store(store.url) for size, store in found.stores.items()}
    rejected = [row for part in parts.values() for row in part["rejected"]]
    counts = {split: sum(len(store.rows(split)) for store in found.members) for split in SPLITS}
    first, classes = next(iter(parts.values())), _classes(found.members)
    facts = {
        "kind": f"bucket set of {found.kind}",
        "name": found.name,
        "rule": found.rule,
        "fingerprint": found.fingerprint,
        "content id": found.content_id,
        "rows": found.num_rows,
        "splits": ", ".join(f"{split} {count:,}" for split, count in counts.items() if count) or "none",
        "rejected": len(rejected),
        **{name: first["facts"][name] for name in ("content", "views") if name in first["facts"]},
        "stores": len(parts),
        "size": format_bytes(location_bytes(path) + sum(store.blobs.num_bytes() for store in found.members)),
        "classes": len(classes) or None,
        "labels": _labels(found, classes),
        "captions": _captions(found.members),
    }
    arrays = {
        f"{size} {name}": f"{text}, {found.stores[size].url}"
        for size, part in parts.items()
        for name, text in part["arrays"].items()
    }
    shared = {"ingredients": found.record["ingredients"], "classes": classes, "data": first["data"]}
    return {"path": path, "facts": facts, "arrays": arrays, "rejected": rejected, **shared}


def _added(store: Store, name: str) -> str:
    return f", added, content id {store.added[name].content_id[:12]}" if name in store.added else ""


def _classes(stores: Sequence[Store]) -> list[dict[str, Any]]:
    """Id, name and readable images of each class that has any, of stores of the same class names."""
    names = stores[0].attributes.get("class_names") or []
    labels = np.concatenate([store.labels[store.rows()] for store in stores])
    ids, counts = np.unique(labels[labels >= 0], return_counts=True)
    return [
        {"id": int(id_), "name": names[id_] if id_ < len(names) else None, "images": int(count)}
        for id_, count in zip(ids, counts, strict=True)
    ]


def _labels(store: AnyStore, classes: list[dict[str, Any]]) -> str:
    if not classes:
        return "none"
    first, last = classes[0]["id"], classes[-1]["id"]
    known = max(last + 1, len(store.attributes.get("class_names") or []))
    labeled = sum(one["images"] for one in classes)
    empty = f", {known - len(classes):,} ids without images" if known > len(classes) else ""
    return f"{first} … {last}, {len(classes):,} different{empty}; {labeled:,} rows labeled"


def _captions(stores: Sequence[Store]) -> str:
    import pyarrow.compute as pc  # a fifth of a second, which listings do without

    lengths = [pc.list_value_length(store.index["caption"]).drop_null() for store in stores]
    counts = np.concatenate([column_numbers(column) for column in lengths])
    captioned = int((counts > 0).sum())
    return f"{int(counts.sum()):,} in {captioned:,} rows" if captioned else "none"


def _shape(store: Store, spec: ArraySpec) -> str:
    """The shape of an array; of a ragged one how many tokens there are, and how long the longest sequence may be."""
    if not spec.is_ragged:
        return str((store.num_rows, store.views, *spec.row_shape))
    tokens = store.statistics(spec.name).count // math.prod(spec.row_shape[1:-1])
    rest = ", ".join(map(str, spec.row_shape[1:]))
    return f"({store.num_rows}, {store.views}, up to {spec.row_shape[0]}, {rest}), {tokens:,} tokens end to end"
