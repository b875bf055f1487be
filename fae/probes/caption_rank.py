"""How early each picture's own caption comes among others: recall and mean rank beside chance, with intervals."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fae.metrics import LEVEL, Estimate

RESAMPLES = 1000


@dataclass(frozen=True)
class OwnCaption:
    """Of pictures that choose among their own caption and `others`: recall@1, recall@5 (0 to 1) and mean rank (from 1).

    `captions` counts the different ones. Bounds are those of 95 % percentile intervals by a bootstrap of captions, with
    all pictures of each, since pictures of one caption are alike.
    """

    recall_1: Estimate
    recall_5: Estimate
    mean_rank: Estimate
    others: int
    pictures: int
    captions: int

    @property
    def chance(self) -> tuple[float, float, float]:
        """The three figures of a blind choice."""
        among = self.others + 1
        return 1 / among, min(5 / among, 1.0), (among + 1) / 2


def own_caption(pictures: Tensor, captions: Tensor, own: Tensor, others: int, seed: int) -> OwnCaption:
    """Rank each picture's caption by cosine among `others` different ones drawn by the seed (all, if there are fewer).

    Args:
        pictures: (N, D) embeddings.
        captions: (M, D) embeddings of captions that all differ.
        own: int64 (N,), the number of each picture's caption.

    Raises:
        ValueError: fewer than 2 captions.
    """
    if len(captions) < 2:
        raise ValueError(f"captions: expected at least 2 different ones to tell apart; received {len(captions)}")
    others = min(others, len(captions) - 1)
    generator = np.random.default_rng(seed)
    ranks = 1 + _others_before(pictures, captions, own, others, generator)
    owners = own.cpu().numpy()
    counts = np.bincount(owners, minlength=len(captions))
    used = np.flatnonzero(counts)
    # Times that each caption is drawn in each resample: (R, used captions)
    drawn = generator.multinomial(len(used), np.full(len(used), 1 / len(used)), size=RESAMPLES)

    def estimate(values: np.ndarray) -> Estimate:
        sums = np.bincount(owners, weights=values, minlength=len(captions))[used]
        resampled = (drawn @ sums) / (drawn @ counts[used])
        low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Estimate(float(values.mean()), float(low), float(high))

    found = (estimate((ranks <= 1).astype(float)), estimate((ranks <= 5).astype(float)), estimate(ranks.astype(float)))
    return OwnCaption(*found, others, len(pictures), len(used))


def _others_before(
    pictures: Tensor, captions: Tensor, own: Tensor, others: int, generator: np.random.Generator
) -> np.ndarray:
    """For each picture how many of its drawn others are at least as near as its own, int64 (N,): ties count against."""
    pictures, captions = F.normalize(pictures.double(), dim=1), F.normalize(captions.double(), dim=1)
    found = []
    for picture, number in zip(pictures, own.tolist(), strict=True):
        drawn = generator.choice(len(captions) - 1, others, replace=False)
        drawn += drawn >= number  # numbers of all captions but its own
        similarity = captions[torch.from_numpy(drawn).to(captions.device)] @ picture  # (others,)
        found.append(int((similarity >= captions[number] @ picture).sum()))
    return np.array(found)
