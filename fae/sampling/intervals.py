"""Guidance scales by intervals of t, from numbers or text; without torch, so that a mistake is refused at once.

Intervals: Kynkäänniemi et al., arXiv 2404.07724.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class GuidanceInterval:
    """`scale` for every t with t_hi ≥ t ≥ t_lo (1 = noise); outside of all intervals the scale is 1, which is none."""

    t_hi: float
    t_lo: float
    scale: float

    def __post_init__(self) -> None:
        if not 1 >= self.t_hi >= self.t_lo >= 0:
            raise ValueError(f"guidance interval: expected 1 >= t_hi >= t_lo >= 0; received {self.t_hi},{self.t_lo}")
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ValueError(f"guidance scale: expected a number of at least 0 (1 = none); received {self.scale}")


Guidance = Sequence[GuidanceInterval]
EDGE = 1e-6

# The name of these intervals is "paper". FAE, arXiv 2512.07829: 0.9 on [1, 0.9], none on (0.9, 0.7), 2.5 on [0.7, 0].
PAPER_GUIDANCE = (GuidanceInterval(1.0, 0.9, 0.9), GuidanceInterval(0.7, 0.0, 2.5))


def make_guidance(spans: Iterable[Sequence[float]], scale: float = 1.0) -> tuple[GuidanceInterval, ...]:
    """Intervals from (t_hi, t_lo) or (t_hi, t_lo, own scale) in any order, latest time first in the result.

    Raises:
        ValueError: a span is not of that form, or two overlap in more than a point.
    """
    intervals = []
    for span in spans:
        if len(span) not in (2, 3):
            raise ValueError(f"guidance interval: expected t_hi,t_lo or t_hi,t_lo,scale; received {list(span)}")
        intervals.append(GuidanceInterval(span[0], span[1], span[2] if len(span) == 3 else scale))
    intervals.sort(key=lambda interval: (-interval.t_hi, -interval.t_lo))
    for before, after in pairwise(intervals):
        if after.t_hi > before.t_lo:
            raise ValueError(
                f"guidance intervals: expected no overlap; received {before.t_hi},{before.t_lo} "
                f"and {after.t_hi},{after.t_lo}"
            )
    return tuple(intervals)


def parse_guidance(text: str, scale: float = 1.0) -> tuple[GuidanceInterval, ...]:
    """Intervals from text such as "0.7,0" (with `scale`) or "1,0.9,0.9; 0.7,0,2.5"; "paper" is the latter."""
    if text.strip() == "paper":
        return PAPER_GUIDANCE
    try:
        spans = [[float(number) for number in part.split(",")] for part in text.split(";") if part.strip()]
    except ValueError as error:
        raise ValueError(
            f"guidance interval: expected paper, t_hi,t_lo or t_hi,t_lo,scale with ; between several; received {text!r}"
        ) from error
    return make_guidance(spans, scale)


def scale_at(guidance: Guidance, t: float) -> float:
    """The scale at time t; where two intervals touch the first listed holds.

    Ends count as inside up to 1e-6, since a solver's times are rounded: 0.9 as a float32 is less than 0.9.
    """
    inside = (interval.scale for interval in guidance if interval.t_hi + EDGE >= t >= interval.t_lo - EDGE)
    return next(inside, 1.0)
