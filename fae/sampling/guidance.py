"""Guidance by intervals of t on all channels: by no condition, by a weaker model, or by the model's own early head.

Classifier-free guidance: Ho & Salimans, arXiv 2207.12598; intervals: Kynkäänniemi et al., arXiv 2404.07724.
"""

from typing import Any

import torch

from fae.sampling.conditions import Conditions
from fae.sampling.intervals import Guidance, scale_at
from fae.sampling.samplers import Velocity
from fae.sampling.transport import Model


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
    negative: Conditions | None = None,
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
        negative: what guidance leads away from, one for each sample, in the place of the empty condition.
    """
    empty = conditions.empty() if negative is None else negative
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
