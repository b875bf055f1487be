"""Sliced Wasserstein distance of two sets of features: informative at one to five thousand rows."""

import torch

from fae.metrics.neighbors import Rows, as_pair

DIRECTIONS = 1000
CHUNK = 50


def sliced_wasserstein(real: Rows, generated: Rows, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """MIND (arXiv 2605.06797): 3·D times the mean of squared 2-Wasserstein distances along random directions.

    Args:
        real: rows (N, D).
        generated: rows (M, D); of the larger set the first min(N, M) count, so rows must be in random order.
        directions: unit vectors, drawn normal and scaled.
        seed: of the directions.

    Raises:
        ValueError: sets of other widths, empty, or with NaN or inf.
    """
    x, y = as_pair(real, generated, dtype=torch.float32)
    count, width = min(len(x), len(y)), x.shape[1]
    drawn = torch.randn(width, directions, generator=torch.Generator().manual_seed(seed))
    unit = drawn / drawn.norm(dim=0)
    total = 0.0
    for part in unit.split(CHUNK, dim=1):  # (D, ≤ CHUNK), so that N·1000 numbers are never held
        ours, theirs = ((rows[:count] @ part).sort(dim=0).values for rows in (x, y))
        total += float((ours - theirs).double().square().mean(dim=0).sum())
    return 3 * width * total / directions
