"""A Fréchet distance without its bias: measured at several counts of images, extended to infinitely many."""

from dataclasses import dataclass

import numpy as np

POINTS = 5


@dataclass(frozen=True)
class Extrapolation:
    """`limit` at infinitely many images with its standard error, and the `slope` over 1/N that was found."""

    limit: float
    standard_error: float
    slope: float


def prefix_counts(total: int, points: int = POINTS) -> list[int]:
    """Counts at which a stream of `total` rows is measured: evenly spaced from a fifth of it (for 5 points) to all."""
    return sorted({round(total * (number + 1) / points) for number in range(points)} - {0, 1})


def extrapolate(counts: list[int], distances: list[float]) -> Extrapolation:
    """The distance at N → ∞ by a line over 1/N through the distances at several counts.

    Chong and Forsyth 2020 (arXiv 1911.07023, section 4): the bias of a Fréchet distance is linear in 1/N. That holds
    where every count is well above the width of the features.

    Raises:
        ValueError: fewer than 3 counts, or not as many distances.
    """
    if len(counts) != len(distances) or len(set(counts)) < 3:
        raise ValueError(
            f"expected a distance at each of at least 3 counts; received {len(distances)} at {sorted(set(counts))}"
        )
    x, y = 1 / np.array(counts, np.float64), np.array(distances, np.float64)
    design = np.stack([np.ones_like(x), x], axis=1)  # (points, 2)
    (limit, slope), *_ = np.linalg.lstsq(design, y, rcond=None)
    rest = y - design @ [limit, slope]
    variance = float(rest @ rest) / (len(x) - 2)
    error = np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0])
    return Extrapolation(float(limit), float(error), float(slope))
