"""What was measured of runs and stores before, collected from the records beside them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.following import epochs_text
from jobs.remote import fetch_all_samples
from jobs.runs import RUN_FILE, RunFolder
from pipeline.artifacts import SAMPLES_FILE as SAMPLES
from pipeline.artifacts import hosts_of_run, hosts_of_store, read_records
from pipeline.evaluation import EVALUATION_FILE, PROBE_FILE, measured_folder
from pipeline.report.subjects import Subject, short_name
from stores import Store
from stores.backends import inside, origin_of, path_of
from stores.core import list_manifests

SINGULAR = {"autoencoders": "autoencoder", "decoders": "pixel decoder", "generators": "generator"}


def recorded_metrics(root: Path, subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    """Metrics with how each was made: those of the trainings and those of `fae-pipe eval` and `probe`."""
    rows = []
    for folder in _unique(folder for subject in subjects for folder in subject.folders):
        if (folder / RUN_FILE).exists():
            rows += _training_rows(RunFolder.open(folder))
        rows += _evaluation_rows(folder) + _probe_rows(folder)
    for folder in _unique(folder for subject in subjects for folder in sample_folders(root, subject)):
        rows += _evaluation_rows(folder)
    return rows


def titled(folder: Path) -> str:
    """What a run or store is and what it is called: `autoencoder mine · 012345`."""
    return f"{SINGULAR.get(folder.parent.name, folder.parent.name)} {short_name(folder)}"


def sample_folders(root: Path, subject: Subject) -> list[Path]:
    """Folders and stores of samples that the subject's generator made."""
    run = subject.generator
    if run is None or not run.complete:
        return []
    found = []
    fetch_all_samples(root, SAMPLES)
    for file in sorted((root / "samples").glob(f"*/{SAMPLES}")):
        if json.loads(file.read_text())["ingredients"]["generator_sha256"] == run.weights_sha256:
            found.append(file.parent)
    for location, manifest in list_manifests(inside(origin_of(root), "samples")):
        if manifest is not None and manifest.ingredients.get("generator_sha256") == run.weights_sha256:
            found.append(measured_folder(root, location))
    return found


def probe_folders(subject: Subject) -> list[Path]:
    """Folders of `fae-pipe probe` about the subject's autoencoder."""
    folders = [run.path / "probe" for run in subject.runs]
    return [folder for folder in folders if (folder / PROBE_FILE).exists()]


def hosts_of(subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    """The hosts of each store and training that several made; the slowest of a store is marked."""
    made: dict[Path, list[dict[str, Any]]] = {}
    for subject in subjects:
        made |= {path_of(store.url): hosts_of_store(store.manifest) for store in subject.stores}
        made |= {run.path: hosts_of_run(run) for run in subject.runs}
    return [
        {
            "of": titled(path),
            "host": one["host"],
            "rows": one.get("rows"),
            "rows/s": one.get("rows_per_second"),
            "workers": one.get("workers"),
            "note": "slowest" if one.get("slowest") else "",
        }
        for path, hosts in made.items()
        for one in hosts
    ]


def recipe_text(run: RunFolder) -> str:
    """The settings that a run was trained with, as the keys of a recipe, after the rows of epochs that followed."""
    followed = [f"# followed: {epochs_text(run.record.followed)}"] if run.record.followed else []
    return "\n".join([*followed, *(f"{key}: {_shown(value)}" for key, value in run.record.config.items())])


def store_text(store: Store) -> str:
    """What decided a store's rows."""
    return json.dumps(store.manifest.ingredients, indent=2, ensure_ascii=False)


def _training_rows(run: RunFolder) -> list[dict[str, Any]]:
    how = f"at the end of the training, seed {run.record.config.get('seed')}"
    metrics = run.record.metrics
    rows = [(name, value) for name, value in metrics.items() if isinstance(value, int | float)]
    if "split" in metrics:
        how += f", on {metrics.get('rows', '')} {metrics['split']} rows"
    return [_row(run.path, name.replace("_", " "), value, how) for name, value in rows if name != "rows"]


def _evaluation_rows(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for record in read_records(folder / EVALUATION_FILE):
        for one in record["metrics"]:
            spread = "" if one["low"] is None else f"; 95 %: {one['low']:.4g} to {one['high']:.4g}"
            rows.append(_row(folder, one["metric"], one["value"], f"{one['note']}{spread}; {record['command']}"))
    return rows


def _probe_rows(folder: Path) -> list[dict[str, Any]]:
    file = folder / "probe" / PROBE_FILE
    if not file.exists():
        return []
    record = json.loads(file.read_text())
    rows = []
    for part in ("classification", "head", "matching"):
        for kind, value in (record.get(part) or {}).items():
            for name, number in value.items() if isinstance(value, dict) else [("", value)]:
                if isinstance(number, int | float):
                    rows.append(_row(folder, f"{part} {name} of {kind}".replace("  ", " "), number, "fae-pipe probe"))
    return rows


def _row(of: Path, name: str, value: float, how: str) -> dict[str, Any]:
    return {
        "of": titled(of),
        "metric": name,
        "value": value,
        "how": how,
    }


def _unique(folders: Any) -> list[Path]:
    return list(dict.fromkeys(Path(folder) for folder in folders))


def _shown(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)
