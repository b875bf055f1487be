"""Guidance by intervals of t on all channels: by no condition, by a weaker model, or by the model's own early head.

Classifier-free guidance: Ho & Salimans, arXiv 2207.12598; intervals: Kynkäänniemi et al., arXiv 2404.07724.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from fae.sampling.conditions import Conditions
from fae.sampling.samplers import Velocity
from fae.sampling.transport import Model


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


def internally_guided(model: Model, guidance: Guidance, t: float) -> Model:
    """The model's velocity v_head + scale·(v - v_head) at time t, both of one evaluation (arXiv 2512.24176).

    Where the scale is 1 the head is not evaluated.
    """
    scale = scale_at(guidance, t)
    if scale == 1.0:
        return model

    def velocity(x: torch.Tensor, times: torch.Tensor, y: Any) -> torch.Tensor:
        own, head = model(x, times, y, with_guide=True)
        return torch.lerp(head.float(), own.float(), scale)

    return velocity


def guided_velocity(
    model: Model,
    conditions: Conditions,
    guidance: Guidance = (),
    guide_model: Model | None = None,
    internal_guidance: Guidance = (),
) -> Velocity:
    """v_guide + scale·(v_y - v_guide) as a function of (x, t), where v_guide is the velocity of the empty condition.

    One evaluation of N samples where the scale is 1 (conditions) or 0 (empty ones), else one of 2·N.

    Args:
        model: (x (N, ..., c), t (N,), conditions' inputs) -> velocity of x's shape.
        conditions: one for each sample.
        guidance: intervals of t with their scale; 1 outside of them.
        guide_model: a smaller or less trained model of the same latents; v_guide then is its velocity for the same
            conditions (autoguidance: Karras et al., arXiv 2406.02507), one evaluation of N samples by each model.
        internal_guidance: of the model by its own head, before it is guided by anything else; no further evaluation.
    """
    empty = conditions.empty()
    y, null, joined = conditions.inputs, empty.inputs, conditions.cat(empty).inputs

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        scale = scale_at(guidance, t)
        times = torch.full((len(x),), t, device=x.device)
        own = internally_guided(model, internal_guidance, t)
        if scale == 1.0 or (scale == 0.0 and guide_model is None):
            one: torch.Tensor = own(x, times, y if scale == 1.0 else null)
            return one
        if guide_model is not None:
            return torch.lerp(guide_model(x, times, y).float(), own(x, times, y).float(), scale)
        both = own(torch.cat([x, x]), torch.cat([times, times]), joined)
        conditioned, without = both.float().chunk(2)  # (2·N, ..., c) -> 2 × (N, ..., c)
        return torch.lerp(without, conditioned, scale)

    return velocity


def guided_gaussian(
    mean: torch.Tensor, sigma: torch.Tensor, null_mean: torch.Tensor, null_sigma: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of p^scale / p_null^(scale - 1) of two normal distributions, all of one shape.

    With w = scale - 1 and s = min(1, σ²/σ_null²): σ̃² = σ² / (1 + w - w·s) and μ̃ = ((1 + w)·μ - w·s·μ_null) /
    (1 + w - w·s) (STARFlow, arXiv 2506.06276, sec. 3.4). The bound on s keeps σ̃ real where the condition is the wider.
    Scale 1 is `mean` and `sigma` themselves.
    """
    if scale == 1.0:
        return mean, sigma
    w, s = scale - 1, (sigma / null_sigma).square().clamp(max=1.0)
    narrowing = 1 + w - w * s
    return ((1 + w) * mean - w * s * null_mean) / narrowing, sigma / narrowing.sqrt()
