"""Runs of a recipe that differ by their seeds alone: means of their metrics and the standard errors of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SEED = ".seed"


@dataclass(frozen=True)
class Replicated:
    """A metric over runs of several seeds: `mean`, its `standard_error`, and the number of runs."""

    mean: float
    standard_error: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.standard_error:.2g}"


def replicates(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Records whose settings are equal but for seeds; groups of one are left out.

    Args:
        records: of variants or of a sweep, each with its `variant`, `values` and `metrics`.

    Returns:
        By the name of the group's first variant, in a sweep by its settings.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Mapping[str, Any]]] = {}
    for record in records:
        same = tuple(sorted((key, value) for key, value in record["values"].items() if not key.endswith(SEED)))
        groups.setdefault(same, []).append(record)
    names = [record["variant"] for record in records]
    swept = len(set(names)) < len(names)
    return {
        ", ".join(f"{key}={value}" for key, value in same) or "seeds" if swept else group[0]["variant"]: group
        for same, group in groups.items()
        if len(group) > 1
    }


def replicated_metrics(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Replicated]]:
    """By variant and metric, what is known of several seeds; metrics that do not depend on these are left out."""
    found: dict[str, dict[str, Replicated]] = {}
    for name, group in replicates(records).items():
        for metric in group[0]["metrics"]:
            values = [one["metrics"][metric] for one in group if metric in one["metrics"]]
            if len(set(values)) > 1:
                error = float(np.std(values, ddof=1)) / len(values) ** 0.5
                found.setdefault(name, {})[metric] = Replicated(float(np.mean(values)), error, len(values))
    return found


def replicated_table(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line for each metric, a column for each variant that was run with several seeds, named with their number."""
    found = replicated_metrics(records)
    columns = {name: f"{name} ({max(one.count for one in metrics.values())})" for name, metrics in found.items()}
    names = dict.fromkeys(metric for metrics in found.values() for metric in metrics)
    return [
        {"metric": metric, **{columns[name]: _shown(found[name].get(metric)) for name in found}} for metric in names
    ]


def _shown(value: Replicated | None) -> str | None:
    return None if value is None else str(value)
