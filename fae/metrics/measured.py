"""What one pass over a set of images keeps of an extractor's features: Gaussians, some rows, the class score."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch

from fae.metrics.extrapolation import prefix_counts
from fae.metrics.facts import ExtractorFacts
from fae.metrics.frechet import Moments
from fae.metrics.inception_score import SPLITS, InceptionScore


@dataclass(frozen=True)
class Gaussian:
    """`mean` (D,) and unbiased `covariance` (D, D), float64."""

    mean: torch.Tensor
    covariance: torch.Tensor


@dataclass(frozen=True)
class Measured:
    """A set of images as one extractor sees it.

    `count` images (None where a file does not say), a Gaussian of each array of features, the main array's `rows`
    (M, D) float32 of a random part, its moments in `parts` of growing counts, and the class score with its standard
    deviation over ten parts. What is not known is empty.
    """

    count: int | None
    gaussians: dict[str, Gaussian]
    rows: torch.Tensor | None = None
    parts: list[Moments] = field(default_factory=list)
    class_score: tuple[float, float] | None = None

    def growing(self) -> Iterator[tuple[int, Gaussian]]:
        """(count, Gaussian) of the first part, of the first two, … and of all; one at a time, for they are large."""
        whole = Moments(len(self.parts[0].mean)) if self.parts else Moments(0)
        for part in self.parts:
            if whole.merge(part).count >= 2:
                yield whole.count, _gaussian(whole)


class Accumulator:
    """Takes in features batch by batch, in any order: an image's number, not its turn, decides where it counts.

    Numbers run from 0 to `total` - 1 in a random order of the images; some may never come. Rows below `kept_rows`
    are kept; moments are taken of `points` parts of them. Memory: points + 1 matrices (D, D), and the rows.
    """

    def __init__(self, facts: ExtractorFacts, total: int, kept_rows: int, points: int = 1) -> None:
        self.facts, self.count = facts, 0
        self.ends = np.array(prefix_counts(total, points) or [total])
        self.parts: list[Moments] = []
        self.spatial: Moments | None = None
        self.score = InceptionScore(total) if facts.logits and total >= SPLITS else None
        self.rows: torch.Tensor | None = None
        self.kept = torch.zeros(min(kept_rows, total), dtype=torch.bool)

    def update(self, features: dict[str, torch.Tensor], numbers: np.ndarray) -> Self:
        """Add the features (n, D) by array name of the images with these numbers (n,); returns itself.

        Raises:
            ValueError: NaN or inf among the values.
        """
        main = features[self.facts.main]
        if not self.parts:
            self.parts = [Moments(main.shape[1]) for _ in self.ends]
            self.rows = torch.zeros(len(self.kept), main.shape[1])
        part = np.searchsorted(self.ends, numbers, side="right")
        for place in np.unique(part):
            self.parts[place].update(main[torch.from_numpy(part == place)])
        if self.facts.spatial:
            self.spatial = self.spatial or Moments(features[self.facts.spatial].shape[1])
            self.spatial.update(features[self.facts.spatial])
        if self.score is not None and self.facts.logits:
            self.score.update(features[self.facts.logits], numbers)
        self._keep(main, numbers)
        self.count += len(numbers)
        return self

    def result(self) -> Measured:
        """What was seen so far.

        Raises:
            ValueError: fewer than 2 images.
        """
        if self.count < 2 or self.rows is None:
            raise ValueError(f"expected at least 2 readable images to compare; received {self.count}")
        whole = Moments(len(self.parts[0].mean))
        for part in self.parts:
            whole.merge(part)
        gaussians = {self.facts.main: _gaussian(whole)}
        if self.facts.spatial and self.spatial is not None:
            gaussians[self.facts.spatial] = _gaussian(self.spatial)
        score = self.score.result() if self.score is not None and bool((self.score.counts > 0).all()) else None
        return Measured(self.count, gaussians, self.rows[self.kept], self.parts if len(self.parts) > 1 else [], score)

    def _keep(self, main: torch.Tensor, numbers: np.ndarray) -> None:
        assert self.rows is not None
        below = numbers < len(self.kept)
        places = torch.from_numpy(numbers[below])
        self.rows[places] = main[torch.from_numpy(below)].float()
        self.kept[places] = True


def _gaussian(moments: Moments) -> Gaussian:
    return Gaussian(moments.mean, moments.covariance)
