"""How early each image's own caption comes among others: recall and mean rank beside chance, with intervals."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fae.metrics import LEVEL, Estimate

RESAMPLES = 1000


@dataclass(frozen=True)
class OwnCaption:
    """Of images that choose among their own caption and `others`: recall@1, recall@5 (0 to 1) and mean rank (from 1).

    `captions` counts the different ones. Bounds are those of 95 % percentile intervals by a bootstrap of captions, with
    all images of each, since images of one caption are alike.
    """

    recall_1: Estimate
    recall_5: Estimate
    mean_rank: Estimate
    others: int
    images: int
    captions: int

    @property
    def chance(self) -> tuple[float, float, float]:
        """The three metrics of a blind choice."""
        among = self.others + 1
        return 1 / among, min(5 / among, 1.0), (among + 1) / 2


def own_caption(images: Tensor, captions: Tensor, own: Tensor, others: int, seed: int) -> OwnCaption:
    """Rank each image's caption by cosine among `others` different ones drawn by the seed (all, if there are fewer).

    Args:
        images: (N, D) embeddings.
        captions: (M, D) embeddings of captions that all differ.
        own: int64 (N,), the number of each image's caption.
        others: how many other captions an image's own one is ranked among.
        seed: of the draw of these.

    Raises:
        ValueError: fewer than 2 captions.
    """
    if len(captions) < 2:
        raise ValueError(f"captions: expected at least 2 different ones to tell apart; received {len(captions)}")
    others = min(others, len(captions) - 1)
    generator = np.random.default_rng(seed)
    ranks = 1 + _others_before(images, captions, own, others, generator)
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
    return OwnCaption(*found, others, len(images), len(used))


def _others_before(
    images: Tensor, captions: Tensor, own: Tensor, others: int, generator: np.random.Generator
) -> np.ndarray:
    """For each image how many of its drawn others are at least as near as its own, int64 (N,): ties count against."""
    images, captions = F.normalize(images.double(), dim=1), F.normalize(captions.double(), dim=1)
    found = []
    for image, number in zip(images, own.tolist(), strict=True):
        drawn = generator.choice(len(captions) - 1, others, replace=False)
        drawn += drawn >= number  # numbers of all captions but its own
        similarity = captions[torch.from_numpy(drawn).to(captions.device)] @ image  # (others,)
        found.append(int((similarity >= captions[number] @ image).sum()))
    return np.array(found)
