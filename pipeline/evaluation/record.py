"""evaluation.json: the metrics of images with all that made them, kept beside the images."""

import importlib.metadata
import io
import json
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fae.metrics import Metric
from jobs.evaluation import Reconstructions
from jobs.remote import copy_beside, rewrite_beside
from pipeline.artifacts import read_records
from pipeline.console import plain
from pipeline.evaluation.image_locations import EvaluatedSet
from stores import fingerprint
from stores.backends import Location, is_url, name_of, replace_file

EVALUATION_FILE, EVALUATIONS = "evaluation.json", "evaluations"
LIBRARIES = ("fae-pipe", "torch", "torchvision", "timm", "numpy", "pillow", "torch-fidelity")


def evaluation_record(
    made: EvaluatedSet,
    reference: EvaluatedSet | None,
    metrics: list[Metric],
    ingredients: dict[str, Any],
    **facts: Any,
) -> dict[str, Any]:
    """All that is needed to make the metrics again; `facts` are the caller's own."""
    return {
        "fingerprint": fingerprint(ingredients),
        "created_unix_seconds": round(time.time(), 3),
        "command": shlex.join(["fae-pipe", *sys.argv[1:]]),
        "ingredients": ingredients,
        "evaluated": _about(made),
        "reference": _about(reference) if reference else None,
        **facts,
        "versions": {"python": platform.python_version(), **_versions()},
        "metrics": [metric.as_record() for metric in metrics],
    }


def evaluation_file(root: Path, side: EvaluatedSet) -> Path:
    """evaluation.json in the artifact's folder; for other images a file of their name below `root`."""
    return (side.folder if side.folder is not None else root / EVALUATIONS / side.name) / EVALUATION_FILE


def measured_folder(root: Path, store: Location) -> Path:
    """Where evaluation.json of a store lies: in its folder; of one at a URL below `root`."""
    return root / EVALUATIONS / name_of(store) if is_url(store) else Path(store)


def write_evaluation(file: Path, record: dict[str, Any]) -> None:
    """Put a record last, at a URL's root there, too; one of the same fingerprint is replaced, all others stay."""

    def added() -> bytes:
        others = [one for one in read_records(file) if one["fingerprint"] != record["fingerprint"]]
        return json.dumps({"evaluations": [*others, plain(record)]}, indent=1, ensure_ascii=False).encode()

    rewrite_beside(file, added)


def metric_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics as rows of a table."""
    return [
        {
            "metric": metric["metric"],
            "value": metric["value"],
            "95 %": "" if metric["low"] is None else f"{metric['low']:.4g} – {metric['high']:.4g}",
            "note": metric["note"],
        }
        for metric in record["metrics"]
    ]


def write_pairs(file: Path, name: str, images: Reconstructions, pairs: Mapping[str, np.ndarray]) -> Path:
    """The metrics of each image, by row and key of the feature store, as Parquet beside the record."""
    rows = images.originals.rows
    keys = images.originals.store.index["key"].take(pa.array(rows))
    sink = io.BytesIO()
    pq.write_table(pa.table({"row": rows, "key": keys, **pairs}), sink)
    path = file.with_name(f"evaluation-{name[:12]}.parquet")
    replace_file(path, sink.getvalue())
    copy_beside([path])
    return path


def _about(side: EvaluatedSet) -> dict[str, Any]:
    rejected = side.images.rejected if side.images is not None else {}
    return {"location": side.location, **side.identity, "made_by": side.made_by, "rejected": rejected}


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
