"""How well generators do on the latents of several autoencoders, and how predictors order these beforehand."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fae.probes import rank_correlation
from pipeline.artifacts import is_trained_on, runs_of, sets_with
from pipeline.evaluation.averages import AverageMetrics, best_average, distance_name, epochs_to, measured_averages
from stores import Store, fingerprint

# Predictors of which less is better, as a generator's distance; of `class_neighbors` more is better.
PREDICTORS = {
    "intrinsic_dimension": 1,
    "class_neighbors": -1,
    "perturbation_lpips": 1,
    "midpoint_kid": 1,
    "relative_squared_error": 1,
    "effective_rank": 1,
}
LEAST_COMPARED = 4
GENERATED = "generated "


def generated_metrics(root: Path, latents: Sequence[Store], distance: float | None = None) -> list[dict[str, float]]:
    """For each latent store what samples of a generator on it have: `generated <distance's name>`; empty without one.

    Of generators with the same settings, those that most of the stores have, the last step's best average counts.

    Args:
        root: folder of all stores, models and samples.
        latents: stores of several autoencoders.
        distance: also the epochs until an average had at most this distance (`EP_<name>@K`), where one had.
    """
    by_settings: list[dict[str, dict[str, float]]] = []
    for store in latents:
        found = {}
        ids = [store.content_id, *(one.content_id for one in sets_with(root, store))]
        for run in runs_of(root, "generators"):
            if is_trained_on(run, "latents", *ids):
                metrics = _metrics(measured_averages(root, run), run.record.config["steps"], distance)
                if metrics:
                    found[fingerprint(run.record.ingredients["generator"])] = metrics
        by_settings.append(found)
    counts = Counter(settings for found in by_settings for settings in found)
    common = max(counts, key=lambda settings: counts[settings], default="")
    return [found.get(common, {}) for found in by_settings]


def _metrics(measured: Sequence[AverageMetrics], step: int, distance: float | None) -> dict[str, float]:
    name = distance_name(measured)
    best = None if name is None else best_average(measured, name, step)
    if name is None or best is None:
        return {}
    reached = None if distance is None else epochs_to(measured, name, distance)
    epochs = {} if reached is None or distance is None else {f"EP_{name}@{distance:g}": reached.epochs}
    return {f"{GENERATED}{name}": best.metrics[name], **epochs}


def predictor_ranks(records: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Spearman's rank correlation of each predictor with a measured metric over autoencoders; + predicts it rightly.

    Args:
        records: of `compare_autoencoders`.
        metric: of their `metrics`, lower is better.
    """
    rows = []
    for name, sign in PREDICTORS.items():
        pairs = [
            (sign * _value(record["metrics"][name]), _value(record["metrics"][metric]))
            for record in records
            if name in record["metrics"] and metric in record["metrics"]
        ]
        if len(pairs) >= LEAST_COMPARED:
            found = rank_correlation(*np.array(pairs).T)
            rows.append(
                {
                    "predictor": name,
                    "measured": metric,
                    "spearman": round(found.value, 3),
                    "p": round(found.p_value, 4),
                    "autoencoders": len(pairs),
                }
            )
    return rows


def _value(metric: Any) -> float:
    return float(metric["value"] if isinstance(metric, dict) else metric)
