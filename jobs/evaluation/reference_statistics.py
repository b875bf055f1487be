"""What was measured of a reference, kept on disk with all that it was made from, and used again for nothing else."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from fae.metrics import ExtractorFacts, Gaussian, Measured
from fae.weights import align_tensor
from jobs.evaluation.image_sets import ImageSet
from stores import fingerprint
from stores.backends import make_folder, replace_file

FILE, RECORD = "statistics.safetensors", "provenance.json"


def reference_ingredients(images: ImageSet, facts: ExtractorFacts, kept_rows: int) -> dict[str, Any]:
    """All that decides the statistics, up to rounding."""
    return {
        "images": images.identity,
        "extractor": facts.as_record(),
        "kept_rows": min(kept_rows, images.total),
        "format": 1,
    }


def reference_folder(root: Path, name: str, ingredients: dict[str, Any]) -> Path:
    """`<root>/references/<name>-<fingerprint12>`, whether or not it is there."""
    return root / "references" / f"{name}-{fingerprint(ingredients)[:12]}"


def save_reference(folder: Path, ingredients: dict[str, Any], measured: Measured, rejected: dict[str, str]) -> None:
    """Write the statistics, then the record that says that they are there."""
    tensors = {} if measured.rows is None else {"rows": measured.rows}
    for name, gaussian in measured.gaussians.items():
        tensors |= {f"{name}.mean": gaussian.mean, f"{name}.covariance": gaussian.covariance}
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    record = {
        "ingredients": ingredients,
        "count": measured.count,
        "rejected": rejected,
        "class_score": measured.class_score,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    make_folder(folder)
    replace_file(folder / FILE, data)
    replace_file(folder / RECORD, json.dumps(record, indent=1).encode())


def load_reference(folder: Path, ingredients: dict[str, Any]) -> Measured | None:
    """The statistics of exactly these ingredients; None where there are none, or damaged ones."""
    record = _record(folder)
    try:
        data = (folder / FILE).read_bytes()
    except OSError:
        return None
    if record.get("ingredients") != ingredients or record.get("sha256") != hashlib.sha256(data).hexdigest():
        return None
    tensors = {name: align_tensor(tensor) for name, tensor in load(data).items()}
    rows = tensors.pop("rows", None)
    names = sorted({name.rpartition(".")[0] for name in tensors})
    gaussians = {name: Gaussian(tensors[f"{name}.mean"], tensors[f"{name}.covariance"]) for name in names}
    score = record["class_score"]
    return Measured(record["count"], gaussians, rows, class_score=tuple(score) if score else None)


def rejected_of(folder: Path) -> dict[str, str]:
    """Key and reason of the reference's images that could not be read."""
    rejected: dict[str, str] = _record(folder).get("rejected", {})
    return rejected


def newest_other(root: Path, name: str, facts: ExtractorFacts) -> dict[str, Any] | None:
    """Ingredients of the newest statistics that were kept under this name for this extractor, if any."""
    files = sorted((root / "references").glob(f"{name}-*/{RECORD}"), key=lambda file: file.stat().st_mtime_ns)
    found = [_record(file.parent).get("ingredients") for file in files]
    return next((item for item in reversed(found) if item and item["extractor"]["name"] == facts.name), None)


def _record(folder: Path) -> dict[str, Any]:
    """The folder's record; empty where there is none, or a damaged one."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
