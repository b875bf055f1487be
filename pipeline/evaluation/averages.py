"""Metrics of a generator over its averages and checkpoints, out of the records beside its samples."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fae.optim import mean_age
from jobs.remote import fetch_all_samples
from jobs.runs import AVERAGED, RAW, RunFolder
from pipeline.artifacts import SAMPLES_FILE, latents_of, read_records
from pipeline.evaluation.record import EVALUATION_FILE, measured_folder
from stores import fingerprint
from stores.backends import inside, origin_of
from stores.core import count_rows, list_manifests


@dataclass(frozen=True)
class AverageMetrics:
    """What samples of one average of a generator's weights were measured to be.

    Attributes:
        step: of the checkpoint.
        epochs: rows seen until then, in training rows of the latent store.
        average: `ema` (the main one), `raw`, or a name as in `ema_bank`.
        age_steps: how long ago the averaged weights were current, in steps, on average.
        metrics: values by name.
    """

    step: int
    epochs: float
    average: str
    age_steps: float
    metrics: dict[str, float]


def averages_of(run: RunFolder) -> list[str]:
    """All averages that a run's checkpoints hold: the main one, the raw weights, the bank's members."""
    return [AVERAGED, RAW, *run.record.config.get("ema_bank", ())]


def measured_averages(root: Path, run: RunFolder) -> list[AverageMetrics]:
    """Every checkpoint and average of a generator whose samples were evaluated alike, by step and age.

    Alike are samples with the same settings against the same reference by the same networks; of several such groups
    the one of most checkpoints and averages is taken, of equal ones the newest.
    """
    groups: dict[str, dict[tuple[int, str], AverageMetrics]] = {}
    for folder, ingredients in _samples(root):
        if ingredients.get("generator_sha256") != run.weights_sha256:
            continue
        settings = dict(ingredients["sample"])
        step = settings.pop("checkpoint", None) or run.record.config["steps"]
        average = settings.pop("weights", AVERAGED)
        for record in read_records(folder / EVALUATION_FILE):
            how = {name: value for name, value in record["ingredients"].items() if name != "evaluated"}
            group = fingerprint({**ingredients, "sample": settings, "eval": how})
            metrics = {one["metric"]: one["value"] for one in record["metrics"] if " at " not in one["metric"]}
            groups.setdefault(group, {})[step, average] = _measured(run, step, average, metrics)
    largest = max(reversed(groups.values()), key=len, default={})
    return sorted(largest.values(), key=lambda one: (one.step, one.age_steps))


def best_average(found: Sequence[AverageMetrics], metric: str, step: int) -> AverageMetrics | None:
    """The average of a checkpoint with the lowest value of a metric; None where none has it."""
    known = [one for one in found if one.step == step and metric in one.metrics]
    return min(known, key=lambda one: one.metrics[metric], default=None)


def epochs_to(found: Sequence[AverageMetrics], metric: str, value: float) -> AverageMetrics | None:
    """EP_FID@k: the first evaluated checkpoint whose best average has a metric of at most `value`.

    Between two checkpoints nothing is known, so that the epochs are those of the later one.
    """
    for step in sorted({one.step for one in found}):
        best = best_average(found, metric, step)
        if best is not None and best.metrics[metric] <= value:
            return best
    return None


def distance_name(found: Sequence[AverageMetrics]) -> str | None:
    """The Fréchet distance by which averages are ranked: FID where it was measured, else the first one."""
    names = [name for one in found for name in one.metrics if name.startswith(("FID", "FD")) and "∞" not in name]
    return next((name for name in names if name.startswith("FID")), names[0] if names else None)


def average_rows(found: Sequence[AverageMetrics]) -> list[dict[str, Any]]:
    """A table with a line for each checkpoint and average."""
    names = dict.fromkeys(name for one in found for name in one.metrics)
    return [
        {
            "step": one.step,
            "epochs": round(one.epochs, 2),
            "average": one.average,
            "age in steps": round(one.age_steps, 1),
            **{name: one.metrics.get(name) for name in names},
        }
        for one in found
    ]


def _samples(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and ingredients of all samples, those that are files before those in stores, each the oldest first."""
    fetch_all_samples(root, SAMPLES_FILE)
    for file in sorted((root / "samples").glob(f"*/{SAMPLES_FILE}"), key=lambda one: one.stat().st_mtime):
        yield file.parent, json.loads(file.read_text())["ingredients"]
    for location, manifest in list_manifests(inside(origin_of(root), "samples")):
        if manifest is not None:
            yield measured_folder(root, location), dict(manifest.ingredients)


def _measured(run: RunFolder, step: int, average: str, metrics: dict[str, float]) -> AverageMetrics:
    config = run.record.config
    if average == RAW:
        age = 0.0
    else:
        name = str(config["ema_decay"]) if average == AVERAGED else average
        age = mean_age(name, step, warmup=config.get("ema_warmup", True))
    rows = count_rows(latents_of(run), "train")
    return AverageMetrics(step, step * config["batch_size"] / rows, average, age, metrics)
