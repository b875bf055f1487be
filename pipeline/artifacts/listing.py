"""What lies below a root folder: stores and models, their sizes, states and where they came from."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.runs import KINDS, RunFolder, resolve_reference
from pipeline.artifacts.artifact import read_records
from pipeline.artifacts.resolver import SAMPLES_FILE, runs_of
from pipeline.console import format_bytes
from stores.backends import Location, inside, is_url, name_of
from stores.care import folder_bytes, location_bytes, texts_in
from stores.core import Store, list_manifests, open_store
from stores.format import COMPLETE, MANIFEST, SPLITS, ArraySpec
from stores.write import StoreWriter

# The attributes that name what a store was made from, the nearest last.
NAMES = ("path", "kind", "made_from", "num_bytes", "status", "created_unix_seconds")
INPUTS = ("aligned_with", "features", "autoencoder", "decoder", "generator")


@dataclass(frozen=True)
class ArtifactRow:
    """A store, model, folder of samples or evaluations: where, made from what (paths) and when, how large, how far."""

    path: Location
    kind: str
    made_from: list[str]
    num_bytes: int
    status: str
    created_unix_seconds: float | None = None
    depth: int = 0

    def as_record(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {name: getattr(self, name) for name in NAMES}

    def as_cells(self) -> dict[str, Any]:
        """The row as cells of a table, indented by its depth."""
        indent = "" if self.depth == 0 else "   " * (self.depth - 1) + "└─ "
        return {
            "artifact": f"{indent}{name_of(self.path)}",
            "kind": self.kind,
            "size": format_bytes(self.num_bytes),
            "status": self.status,
            "made": _date(self.created_unix_seconds),
        }


def inventory(root: Location) -> list[ArtifactRow]:
    """Every artifact below `root`, each below the one it was made from; at a URL there are stores alone."""
    runs, shown = ([], []) if is_url(root) else (_runs(Path(root)), _samples(Path(root)) + _evaluations(Path(root)))
    found = [
        *_stores(root, "features"),
        *runs,
        *(one for kind in ("latents", "text", "samples") for one in _stores(root, kind)),
        *shown,
    ]
    by_parent: dict[str, list[ArtifactRow]] = {}
    known = {name_of(artifact.path) for artifact in found}
    for artifact in found:
        # The last input is the nearest: latents name their features and then their autoencoder.
        parents = [name_of(path) for path in artifact.made_from if name_of(path) in known]
        by_parent.setdefault(parents[-1] if parents else "", []).append(artifact)
    return _tree(by_parent, "", 0)


def _tree(by_parent: dict[str, list[ArtifactRow]], parent: str, depth: int) -> list[ArtifactRow]:
    rows = []
    for artifact in by_parent.get(parent, []):
        rows.append(ArtifactRow(**{**artifact.__dict__, "depth": depth}))
        rows += _tree(by_parent, name_of(artifact.path), depth + 1)
    return rows


def _stores(root: Location, kind: str) -> list[ArtifactRow]:
    artifacts = []
    for location, manifest in list_manifests(inside(root, kind)):
        size = location_bytes(location)
        if manifest is None:
            artifacts.append(ArtifactRow(location, kind, [], size, "damaged"))
            continue
        named = [manifest.attributes[key] for key in INPUTS if manifest.attributes.get(key)]
        parents = [str(resolve_reference(location, reference)) for reference in named]
        status = manifest.status if manifest.status == COMPLETE else _progress(location)
        artifacts.append(ArtifactRow(location, kind, parents, size, status, manifest.created_unix_seconds))
    return artifacts


def _progress(location: Location) -> str:
    writer = StoreWriter.open(location)
    return f"{writer.num_shards - len(writer.missing_shards())}/{writer.num_shards} shards"


def _runs(root: Path) -> list[ArtifactRow]:
    artifacts = []
    for kind in KINDS:
        for file in sorted((root / kind).glob("*/run.json")):
            run = RunFolder.open(file.parent)
            # The nearest last: a generator belongs to its latents, whatever its conditions.
            inputs = [str(run.input(role)) for role in sorted(run.record.inputs, key=lambda role: role != "text")]
            facts = (folder_bytes(run.path), run.record.status, run.record.created_unix_seconds)
            artifacts.append(ArtifactRow(run.path, kind, inputs, *facts))
    return artifacts


def _samples(root: Path) -> list[ArtifactRow]:
    """Folders of a few samples, each below its generator, which its record names by the weights' digest."""
    runs = {run.record.weights_sha256: str(run.path) for run in runs_of(root, "generators")}
    rows = []
    for file in sorted((root / "samples").glob(f"*/{SAMPLES_FILE}")):
        record = json.loads(file.read_text())
        if "store" in record or (file.parent / MANIFEST).exists():
            continue  # written from a store of samples, which is listed itself
        made_from = [path for path in [runs.get(record["ingredients"]["generator_sha256"])] if path]
        facts = (folder_bytes(file.parent), f"{len(record['images']):,} images", record.get("created_unix_seconds"))
        rows.append(ArtifactRow(file.parent, "samples", made_from, *facts))
    return rows


def _evaluations(root: Path) -> list[ArtifactRow]:
    """Files of evaluations, each below what was evaluated."""
    rows = []
    for file in sorted(root.glob("*/*/evaluation.json")):
        records = read_records(file)
        created = max((record.get("created_unix_seconds", 0.0) for record in records), default=None)
        status = f"{len(records)} comparison{'' if len(records) == 1 else 's'}"
        rows.append(ArtifactRow(file, "evaluations", [str(file.parent)], file.stat().st_size, status, created))
    return rows


def _date(unix_seconds: float | None) -> str:
    return "-" if unix_seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_seconds))


def run_references(root: Path) -> set[str]:
    """Every text by which models below `root` name what they were made from: paths, fingerprints, content ids.

    Raises:
        RunError: a record that cannot be read, so that what it names is unknown.
    """
    files = sorted(file for kind in KINDS for file in (root / kind).glob("*/run.json"))
    records = [RunFolder.open(file.parent).record for file in files]
    return {text for record in records for text in texts_in([record.ingredients, record.inputs])}


def describe_store(path: Path | str) -> dict[str, Any]:
    """A store's facts, arrays, classes, rejected rows, and what was understood of its images, as JSON values.

    Raises:
        StoreError: no complete store there.
    """
    store = open_store(path)
    rejected = store.index.filter(store.index["status"].to_numpy() == "rejected").select(["key", "reason"]).to_pylist()
    splits = {split: len(store.rows(split)) for split in SPLITS}
    classes = _classes(store)
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
        "captions": _captions(store),
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


def _added(store: Store, name: str) -> str:
    return f", added, content id {store.added[name].content_id[:12]}" if name in store.added else ""


def _classes(store: Store) -> list[dict[str, Any]]:
    """Id, name and readable images of each class that has any."""
    names = store.attributes.get("class_names") or []
    labels = store.labels[store.rows()]
    ids, counts = np.unique(labels[labels >= 0], return_counts=True)
    return [
        {"id": int(id_), "name": names[id_] if id_ < len(names) else None, "images": int(count)}
        for id_, count in zip(ids, counts, strict=True)
    ]


def _labels(store: Store, classes: list[dict[str, Any]]) -> str:
    if not classes:
        return "none"
    first, last = classes[0]["id"], classes[-1]["id"]
    known = max(last + 1, len(store.attributes.get("class_names") or []))
    labeled = sum(one["images"] for one in classes)
    empty = f", {known - len(classes):,} ids without images" if known > len(classes) else ""
    return f"{first} … {last}, {len(classes):,} different{empty}; {labeled:,} rows labeled"


def _captions(store: Store) -> str:
    import pyarrow.compute as pc  # a fifth of a second, which listings do without

    counts = pc.fill_null(pc.list_value_length(store.index["caption"]), 0).to_numpy()
    captioned = int((counts > 0).sum())
    return f"{int(counts.sum()):,} in {captioned:,} rows" if captioned else "none"


def _shape(store: Store, spec: ArraySpec) -> str:
    """The shape of an array; of a ragged one how many tokens there are, and how long the longest sequence may be."""
    if not spec.is_ragged:
        return str((store.num_rows, store.views, *spec.row_shape))
    tokens = store.statistics(spec.name).count // math.prod(spec.row_shape[1:-1])
    rest = ", ".join(map(str, spec.row_shape[1:]))
    return f"({store.num_rows}, {store.views}, up to {spec.row_shape[0]}, {rest}), {tokens:,} tokens end to end"
