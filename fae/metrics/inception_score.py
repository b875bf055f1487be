"""Inception Score, from logits that arrive in batches."""

from typing import Self

import numpy as np
import torch

SPLITS = 10


class InceptionScore:
    """exp of the mean KL divergence of each image's classes from the classes of its split (arXiv 1606.03498).

    Rows are cut into ten equal parts, row i of `total` going where torch-fidelity (without shuffling) and OpenAI's
    code put it. Only sums are kept: of the probabilities and of Σ p log p, in float64.
    """

    def __init__(self, total: int) -> None:
        if total < SPLITS:
            raise ValueError(f"expected at least {SPLITS} rows, one for each split; received {total}")
        self.ends = np.arange(1, SPLITS + 1) * total // SPLITS
        self.seen = 0
        self.counts = torch.zeros(SPLITS, dtype=torch.float64)
        self.entropies = torch.zeros(SPLITS, dtype=torch.float64)  # Σ p log p, of each split
        self.classes: torch.Tensor | None = None  # Σ p, (splits, classes)

    def update(self, logits: torch.Tensor, numbers: np.ndarray | None = None) -> Self:
        """Add a batch (N, classes) of logits; returns itself. `numbers` (N,) are its rows i, else those that follow."""
        log_p = logits.detach().cpu().double().log_softmax(dim=1)
        p = log_p.exp()
        numbers = np.arange(self.seen, self.seen + len(p)) if numbers is None else numbers
        # Rows beyond the announced total belong to the last part.
        part = torch.from_numpy(np.searchsorted(self.ends, numbers, side="right").clip(max=SPLITS - 1))
        if self.classes is None:
            self.classes = torch.zeros(SPLITS, p.shape[1], dtype=torch.float64)
        self.classes.index_add_(0, part, p)
        self.entropies.index_add_(0, part, (p * log_p).sum(dim=1))
        self.counts.index_add_(0, part, torch.ones(len(p), dtype=torch.float64))
        self.seen += len(p)
        return self

    def result(self) -> tuple[float, float]:
        """Mean and standard deviation over the splits.

        Raises:
            ValueError: a split got no row.
        """
        if self.classes is None or not bool((self.counts > 0).all()):
            raise ValueError(f"expected at least {SPLITS} rows, one for each split; received {self.seen}")
        q = self.classes / self.counts[:, None]
        divergence = self.entropies / self.counts - torch.xlogy(q, q).sum(dim=1)
        scores = divergence.exp()
        return float(scores.mean()), float(scores.std(unbiased=False))
