"""k-NN classification by cosine similarity, the probe that trains nothing."""

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 1024


def knn_classify(rows: Tensor, labels: Tensor, queries: Tensor, ks: tuple[int, ...]) -> list[Tensor]:
    """The label that most of the k nearest rows have, int64 (M,) for each k; of several such labels the smallest.

    The nearest are those of largest cosine similarity, each with one vote, as in scikit-learn's
    `KNeighborsClassifier(metric="cosine")`; rows (N, D), labels (N,), queries (M, D).

    Raises:
        ValueError: a k beyond 1 to N, or widths that differ.
    """
    if not all(1 <= k <= len(rows) for k in ks):
        raise ValueError(f"k: expected neighbors from 1 to {len(rows)} (the training rows); received {ks}")
    if rows.ndim != 2 or queries.ndim != 2 or rows.shape[1] != queries.shape[1]:
        raise ValueError(f"expected rows of one width; received {tuple(rows.shape)} and {tuple(queries.shape)}")
    classes, targets = torch.unique(labels, return_inverse=True)
    rows = F.normalize(rows.double(), dim=1)
    nearest = [
        (F.normalize(block.double(), dim=1) @ rows.T).topk(max(ks), dim=1).indices for block in queries.split(CHUNK)
    ]
    voters = targets[torch.cat(nearest)]  # (M, k)
    return [classes[_majority(voters[:, :k], len(classes))] for k in ks]


def _majority(votes: Tensor, num_classes: int) -> Tensor:
    """The most frequent class of each line (M, k) → (M,), the smaller of equals."""
    counts = torch.zeros(len(votes), num_classes, dtype=torch.int64, device=votes.device)
    counts.scatter_add_(1, votes, torch.ones_like(votes))
    order = torch.arange(num_classes, device=votes.device)
    return (counts * num_classes - order).argmax(dim=1)
