"""What is known of a network whose features are compared, apart from how it is built."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class ExtractorFacts:
    """What decides the features: only those of equal facts may be compared.

    `title` is what a distance on these features is called; `main` the array that distances are taken on, `logits` and
    `spatial` those for Inception Score and sFID, None where there is none.
    """

    name: str
    title: str
    weights_sha256: str
    preprocessing: str
    main: str
    logits: str | None = None
    spatial: str | None = None

    def as_record(self) -> dict[str, Any]:
        """The facts as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Extractor:
    """`extract`: uint8 (N, H, W, 3) -> float32 rows (N, D) by array name, on the CPU."""

    facts: ExtractorFacts
    extract: Callable[[np.ndarray], dict[str, torch.Tensor]]
