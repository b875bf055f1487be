"""Nearest neighbors between real and generated rows: precision, recall, and copies of training rows."""

from collections.abc import Iterator

import numpy as np
import torch

Rows = torch.Tensor | np.ndarray
CHUNK = 1024


def knn_recall(real: Rows, generated: Rows, k: int) -> float:
    """Share of real rows inside the generated manifold (diversity), 0 to 1; precision is that of the sets exchanged.

    Kynkäänniemi et al. 2019 (arXiv 1904.06991, equations 1 and 2): a manifold is the union of balls around its rows,
    each reaching to the row's k-th nearest neighbor among the others. Rows are (N, D) features or flattened pixels,
    N > k; distances are Euclidean, in float64.
    """
    real, generated = as_pair(real, generated)
    check_k(k, generated)
    # The nearest row of the same set is the row itself, at distance 0.
    radii = torch.cat([near.kthvalue(k + 1, dim=1).values for near in _distances(generated, generated)])
    inside = [(distances <= radii).any(dim=1) for distances in _distances(real, generated)]
    return float(torch.cat(inside).double().mean())


def copy_share(samples: Rows, train: Rows, heldout: Rows, quantile: float = 0.01) -> float:
    """Share of samples nearer to a training row than real held-out rows come, 0 to 1.

    Each row's distance is the Euclidean one to its nearest training row. The bound is the `quantile` of the held-out
    rows' distances, and a sample counts when it lies strictly below. So fresh real rows would score about `quantile`
    (0.01), and only what is well above that points to memorising. Rows are (N, D).
    """
    if not 0 <= quantile < 1:
        raise ValueError(f"quantile: expected 0 ≤ quantile < 1; received {quantile}")
    bound = torch.quantile(nearest_distances(heldout, train), quantile)
    return float((nearest_distances(samples, train) < bound).double().mean())


def nearest_distances(rows: Rows, others: Rows) -> torch.Tensor:
    """Euclidean distance of each row (N, D) to the nearest of the others (M, D), float64 (N,)."""
    rows, others = as_pair(rows, others)
    return torch.cat([distances.amin(dim=1) for distances in _distances(rows, others)])


def _distances(rows: torch.Tensor, others: torch.Tensor) -> Iterator[torch.Tensor]:
    """Blocks (≤ CHUNK, M) of the distance table, so that 50,000 rows a side need no 20 GB."""
    for start in range(0, len(rows), CHUNK):
        yield torch.cdist(rows[start : start + CHUNK], others)


def check_k(k: int, rows: torch.Tensor) -> None:
    """Raise ValueError when the rows have no k-th neighbors."""
    if not 1 <= k < len(rows):
        raise ValueError(f"k: expected a neighbor from 1 to {len(rows) - 1} (rows - 1); received {k}")


def as_pair(first: Rows, second: Rows, dtype: torch.dtype | None = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as tensors of a dtype (None: as they are), checked: (N, D) and (M, D) of one width, finite, not empty."""
    a, b = (torch.as_tensor(rows, dtype=dtype) for rows in (first, second))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise ValueError(
            f"expected (N, D) and (M, D) rows of one width; received {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise ValueError("expected finite rows; received NaN or inf; look for where the model diverged")
    return a, b
