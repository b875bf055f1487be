"""What lies below a root folder: stores and models, their sizes, states and where they came from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.run_folder import KINDS, RunFolder
from pipeline.formats import readable
from stores import StoreError
from stores.gc import folder_bytes, texts_in
from stores.layout import MANIFEST
from stores.manifest import COMPLETE, Manifest
from stores.reader import open_store
from stores.writer import StoreWriter

# The attributes that name what a store was made from, the nearest last.
INPUTS = ("features", "autoencoder", "decoder", "generator")


@dataclass(frozen=True)
class Artefact:
    """A store or a model: where it is, what it was made from (paths), how large and how far it is."""

    path: Path
    kind: str
    made_from: list[str]
    num_bytes: int
    status: str
    depth: int = 0

    def as_record(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("path", "kind", "made_from", "num_bytes", "status")}

    def as_cells(self) -> dict[str, Any]:
        indent = "" if self.depth == 0 else "   " * (self.depth - 1) + "└─ "
        return {
            "artefact": f"{indent}{self.path.name}",
            "kind": self.kind,
            "size": readable(self.num_bytes),
            "status": self.status,
        }


def inventory(root: Path) -> list[Artefact]:
    """Every artefact below `root`, each below the one it was made from."""
    found = [*_stores(root, "features"), *_runs(root), *_stores(root, "latents"), *_stores(root, "samples")]
    by_parent: dict[str, list[Artefact]] = {}
    known = {artefact.path.name for artefact in found}
    for artefact in found:
        # The last input is the nearest: latents name their features and then their autoencoder.
        parents = [Path(path).name for path in artefact.made_from if Path(path).name in known]
        by_parent.setdefault(parents[-1] if parents else "", []).append(artefact)
    return _tree(by_parent, "", 0)


def _tree(by_parent: dict[str, list[Artefact]], parent: str, depth: int) -> list[Artefact]:
    rows = []
    for artefact in by_parent.get(parent, []):
        rows.append(Artefact(**{**artefact.__dict__, "depth": depth}))
        rows += _tree(by_parent, artefact.path.name, depth + 1)
    return rows


def _stores(root: Path, kind: str) -> list[Artefact]:
    artefacts = []
    for path, manifest in _manifests(root / kind):
        if manifest is None:
            artefacts.append(Artefact(path, kind, [], folder_bytes(path), "damaged"))
            continue
        parents = [manifest.attributes[key] for key in INPUTS if key in manifest.attributes]
        status = manifest.status if manifest.status == COMPLETE else _progress(path)
        artefacts.append(Artefact(path, kind, parents, folder_bytes(path), status))
    return artefacts


def _manifests(parent: Path) -> list[tuple[Path, Manifest | None]]:
    """(folder, manifest) of every store, oldest first; None where the manifest cannot be read."""
    files = sorted(parent.glob(f"*-{'[0-9a-f]' * 12}/{MANIFEST}"), key=lambda file: file.stat().st_mtime_ns)
    found: list[tuple[Path, Manifest | None]] = []
    for file in files:
        try:
            found.append((file.parent, StoreWriter.open(file.parent).manifest))
        except StoreError:
            found.append((file.parent, None))
    return found


def _progress(path: Path) -> str:
    writer = StoreWriter.open(path)
    return f"{writer.num_shards - len(writer.missing_shards())}/{writer.num_shards} shards"


def _runs(root: Path) -> list[Artefact]:
    artefacts = []
    for kind in KINDS:
        for file in sorted((root / kind).glob("*/run.json")):
            run = RunFolder.open(file.parent)
            inputs = [*run.record["inputs"].values()]
            artefacts.append(Artefact(run.path, kind, inputs, folder_bytes(run.path), run.record["status"]))
    return artefacts


def run_references(root: Path) -> set[str]:
    """Every text by which models below `root` name what they were made from: paths, fingerprints, content ids.

    Raises:
        RunError: a record that cannot be read, so that what it names is unknown.
    """
    files = sorted(file for kind in KINDS for file in (root / kind).glob("*/run.json"))
    records = [RunFolder.open(file.parent).record for file in files]
    return {text for record in records for text in texts_in([record["ingredients"], record["inputs"]])}


def describe_store(path: Path | str) -> dict[str, Any]:
    """A store's facts, arrays and rejected rows, as JSON values.

    Raises:
        StoreError: no complete store there.
    """
    store = open_store(path)
    rejected = store.index.filter(store.index["status"].to_numpy() == "rejected").select(["key", "reason"]).to_pylist()
    splits = {split: len(store.rows(split)) for split in ("train", "val")}
    facts = {
        "kind": store.kind,
        "name": store.name,
        "fingerprint": store.fingerprint,
        "content id": store.content_id,
        "rows": store.num_rows,
        "train / val": f"{splits['train']} / {splits['val']}",
        "rejected": len(rejected),
        "views": store.views,
        "shards": f"{store.manifest.num_shards} of {store.manifest.rows_per_shard} rows",
        "size": readable(sum(store.blobs.size(key) for key in store.blobs.keys())),  # noqa: SIM118
        "classes": len(store.attributes.get("class_names") or []) or None,
    }
    arrays = {
        name: f"{spec.dtype} {(store.num_rows, store.views, *spec.row_shape)}" for name, spec in store.arrays.items()
    }
    return {
        "path": path,
        "facts": facts,
        "arrays": arrays,
        "ingredients": store.manifest.ingredients,
        "rejected": rejected,
    }
