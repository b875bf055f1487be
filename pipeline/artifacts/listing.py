"""What lies below a root folder: stores and models, their sizes, states and where they came from."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.remote import fetch_all_beside, fetch_all_samples, fetch_records
from jobs.runs import KINDS, RunError, RunFolder, resolve_reference
from pipeline.artifacts.artifact import local_records
from pipeline.artifacts.bucket_sets import created_of_set
from pipeline.artifacts.resolver import KINDS_OF_ARTIFACTS, SAMPLES_FILE, runs_of
from pipeline.artifacts.status import DAMAGED
from pipeline.console import format_bytes
from stores.backends import Location, inside, is_url, name_of, origin_of, parent_of, working_folder
from stores.care import folder_bytes, location_bytes, texts_in
from stores.core import (
    BUCKETS,
    list_manifests,
    read_set_record,
    set_locations,
)
from stores.format import COMPLETE, MANIFEST, StoreError
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
    branch: str = ""
    """The lines of a tree before its name."""

    def as_record(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {name: getattr(self, name) for name in NAMES}

    def as_cells(self) -> dict[str, Any]:
        """The row as cells of a table, a branch of the tree before its name."""
        return {
            "artifact": f"{self.branch}{name_of(self.path)}",
            "kind": self.kind,
            "size": format_bytes(self.num_bytes),
            "status": self.status,
            "made": _date(self.created_unix_seconds),
        }


def inventory(root: Location) -> list[ArtifactRow]:
    """Every artifact below `root`, a folder or a URL, each below the one it was made from."""
    folder = working_folder(str(root)) if is_url(root) else Path(root)
    runs, shown = _runs(folder), _samples(folder) + _evaluations(folder)
    found = [
        *_stores(root, "features"),
        *runs,
        *(one for kind in ("latents", "text", "samples") for one in _stores(root, kind)),
        *shown,
    ]
    sets, set_of = _sets(root, found)
    found = [*sets, *found]
    by_parent: dict[str, list[ArtifactRow]] = {}
    known = {name_of(artifact.path) for artifact in found}
    for artifact in found:
        # The last input is the nearest: latents name their features and then their autoencoder.
        parents = [name_of(path) for path in artifact.made_from if name_of(path) in known]
        parents = [set_of[name_of(artifact.path)]] if name_of(artifact.path) in set_of else parents
        by_parent.setdefault(parents[-1] if parents else "", []).append(artifact)
    return _tree(by_parent, "", 0, "")


def _tree(by_parent: dict[str, list[ArtifactRow]], parent: str, depth: int, stem: str) -> list[ArtifactRow]:
    """`stem` is drawn before the branches of this depth: a line for each parent that has more below it."""
    rows, children = [], by_parent.get(parent, [])
    for artifact in children:
        last = artifact is children[-1]
        branch = "" if depth == 0 else stem + ("└─ " if last else "├─ ")
        rows.append(replace(artifact, depth=depth, branch=branch))
        below = "" if depth == 0 else stem + ("   " if last else "│  ")
        rows += _tree(by_parent, name_of(artifact.path), depth + 1, below)
    return rows


def _stores(root: Location, kind: str) -> list[ArtifactRow]:
    artifacts = []
    for location, manifest in list_manifests(inside(root, kind)):
        size = location_bytes(location)
        if manifest is None:
            artifacts.append(ArtifactRow(location, kind, [], size, DAMAGED))
            continue
        named = [manifest.attributes[key] for key in INPUTS if manifest.attributes.get(key)]
        parents = [str(resolve_reference(location, reference)) for reference in named]
        status = manifest.status if manifest.status == COMPLETE else _progress(location)
        artifacts.append(ArtifactRow(location, kind, parents, size, status, manifest.created_unix_seconds))
    return artifacts


def _sets(root: Location, rows: list[ArtifactRow]) -> tuple[list[ArtifactRow], dict[str, str]]:
    """A row for each bucket set, and the set that each store is shown below: of several the newest.

    A set is made from what its stores are, their sets in their place.
    """
    by_name, found, set_of = {name_of(row.path): row for row in rows}, [], dict[str, str]()
    for written, path in sorted((_written(path), path) for path in set_locations(root)):
        try:
            record = read_set_record(path)
        except StoreError:
            found.append(ArtifactRow(path, "bucket set", [], location_bytes(path), DAMAGED, written))
            continue
        members = [one["store"].split("/") for one in record["buckets"]]
        set_of |= {name: name_of(path) for _, name in members}
        there = [by_name[name] for _, name in members if name in by_name]
        complete = sum(row.status == COMPLETE for row in there)
        status = COMPLETE if complete == len(members) else f"{complete}/{len(members)} stores"
        kind = f"bucket set of {members[0][0]}"
        size = location_bytes(path) + sum(row.num_bytes for row in there)
        found.append(ArtifactRow(path, kind, _parents_of_set(there, set_of, path), size, status, written))
    return found, set_of


def _written(location: Location) -> float:
    """When the record of a set was written; at a URL, which does not say it, when its newest store was begun."""
    return created_of_set(location) if is_url(location) else (Path(location) / BUCKETS).stat().st_mtime


def _parents_of_set(members: list[ArtifactRow], set_of: dict[str, str], path: Location) -> list[str]:
    """What the stores of a set were made from, each once; sets in the place of their stores."""
    named = [parent for row in members for parent in row.made_from]
    folder = parent_of(path)
    found = (inside(folder, set_of[name_of(one)]) if name_of(one) in set_of else one for one in named)
    return list(dict.fromkeys(map(str, found)))


def _progress(location: Location) -> str:
    writer = StoreWriter.open(location)
    return f"{writer.num_shards - len(writer.missing_shards())}/{writer.num_shards} shards"


def _runs(root: Path) -> list[ArtifactRow]:
    artifacts = []
    for kind in KINDS:
        fetch_records(root, kind)
        for file in sorted((root / kind).glob("*/run.json")):
            path = origin_of(file.parent)
            try:
                run = RunFolder.open(file.parent)
            except RunError:
                artifacts.append(ArtifactRow(path, kind, [], location_bytes(path), DAMAGED))
                continue
            # The nearest last: a generator belongs to its latents, whatever its conditions.
            inputs = [str(run.input(role)) for role in sorted(run.record.inputs, key=lambda role: role != "text")]
            facts = (location_bytes(path), run.record.status, run.record.created_unix_seconds)
            artifacts.append(ArtifactRow(path, kind, inputs, *facts))
    return artifacts


def _samples(root: Path) -> list[ArtifactRow]:
    """Folders of a few samples, each below its generator, which its record names by the weights' digest."""
    runs = {run.record.weights_sha256: str(run.path) for run in runs_of(root, "generators")}
    rows = []
    fetch_all_samples(root, SAMPLES_FILE)
    for file in sorted((root / "samples").glob(f"*/{SAMPLES_FILE}")):
        record = json.loads(file.read_text())
        if "store" in record or (file.parent / MANIFEST).exists():
            continue  # written from a store of samples, which is listed itself
        made_from = [path for path in [runs.get(record["ingredients"]["generator_sha256"])] if path]
        facts = (folder_bytes(file.parent), f"{len(record['images']):,} images", record.get("created_unix_seconds"))
        rows.append(ArtifactRow(origin_of(file.parent), "samples", made_from, *facts))
    return rows


def _evaluations(root: Path) -> list[ArtifactRow]:
    """Files of evaluations, each below what was evaluated."""
    rows = []
    fetch_all_beside(root, "evaluation.json", (*KINDS_OF_ARTIFACTS, "evaluations"))
    for file in sorted(root.glob("*/*/evaluation.json")):
        records = local_records(file)
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
    for kind in KINDS:
        fetch_records(root, kind)
    files = sorted(file for kind in KINDS for file in (root / kind).glob("*/run.json"))
    records = [RunFolder.open(file.parent).record for file in files]
    return {text for record in records for text in texts_in([record.ingredients, record.inputs])}
