"""Predictors of generatability of a latent store alone, as rows of a table."""

from typing import Any

import numpy as np

from jobs.evaluation import LEAST_ROWS, generatability
from stores import Store

ROWS = 1024


def spaced_rows(latents: Store, count: int) -> np.ndarray:
    """Up to `count` rows, evenly spaced over the held-out ones, or over the training ones where none are held out."""
    rows = next((rows for split in ("val", "train") if len(rows := latents.rows(split))), latents.rows())
    if count >= len(rows):
        return rows
    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
    return chosen


def latent_predictors(latents: Store) -> list[dict[str, Any]]:
    """Name, value and 95 % interval of each predictor that needs no decoder; none of too few rows."""
    rows = spaced_rows(latents, ROWS)
    if len(rows) < LEAST_ROWS:
        return []
    return [
        {"predictor": name, "value": found.value, "low": found.low, "high": found.high, "rows": len(rows)}
        for name, found in generatability(latents, rows).items()
    ]
