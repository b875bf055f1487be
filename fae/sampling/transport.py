"""The linear path between data and noise: times, the velocity a model learns, and the loss that teaches it.

t = σ ∈ [0, 1] and **t = 1 is noise**: x_t = (1 - t)·x_0 + t·ε with velocity v = ε - x_0, which is the sign of
diffusers' flow-match schedulers (SiT, arXiv 2401.08740, section 2, with α_t = 1 - t and σ_t = t).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from fae.rng import normal, uniform
from fae.sampling.conditions import Conditions

Model = Callable[..., Any]
"""(x (N, ..., c), t (N,), a condition's inputs) -> velocity of x's shape; with `with_guide=True` also the prediction of
the head for internal guidance, where there is one."""


def shift_to_diffusers(shift: float) -> float:
    """The paper's timestep shift (its time 0 is noise) as diffusers' `shift` (its σ = 1 is noise): 1 / shift."""
    if not shift > 0:
        raise ValueError(f"shift: expected a number above 0 (1 = none, the paper 0.4); received {shift}")
    return 1.0 / shift


def shift_times(t: torch.Tensor, shift: float) -> torch.Tensor:
    """Times moved towards noise by a shift below 1 (towards data above 1), any shape, t = 1 is noise.

    The paper's rule is u' = s·u / (1 + (s - 1)·u) for u = 1 - t. Written in t it is the same rule with 1/s
    (LightningDiT, arXiv 2501.01423; FAE, arXiv 2512.07829: s = 0.4).
    """
    s = shift_to_diffusers(shift)
    return s * t / (1 + (s - 1) * t)


PREDICTIONS = ("velocity", "x")
# In the loss of x-prediction t is at least this: its weight 1/t² would otherwise grow without bound (RAEv2, JLT: 0.05).
MIN_LOSS_TIME = 0.05


def velocity_of(x0: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor, min_time: float = 0.0) -> torch.Tensor:
    """Velocity (x_t - x_0) / max(t, min_time) on the way from x_t at times t (N,) to data x_0, all (N, ...).

    With `min_time` 0 an Euler step from t to 0 ends at x_0 itself (JiT, arXiv 2511.13720, with t = 1 as noise).
    """
    t = t.clamp(min=min_time).view(-1, *[1] * (x_t.ndim - 1))  # (N,) -> (N, 1, ...)
    return (x_t - x0) / t


def interpolate(x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(x_t, velocity) for data and noise (N, ...) at times (N,)."""
    t = t.view(-1, *[1] * (x0.ndim - 1))  # (N,) -> (N, 1, ...)
    return (1 - t) * x0 + t * noise, noise - x0


@dataclass(frozen=True)
class Transport:
    """How a velocity model is trained. What the paper does not state has the default of the work named beside it."""

    shift: float = 1.0
    """Timestep shift of the training times, and of the solver's unless `sampling_shift` says otherwise; the paper's
    convention (0.4 there, 1 = none). RAE shifts both; LightningDiT shifts the solver's only: there shift = 1 and
    `sampling_shift` = 0.3. Which of the two the paper does is not stated."""
    sampling_shift: float | None = None
    """Timestep shift of the solver's times; None = `shift`."""
    time_distribution: str = "uniform"
    """Distribution of t before the shift: uniform (SiT) or logit-normal (LightningDiT). Not stated in the paper."""
    logit_mean: float = 0.0
    """Mean of logit(t); positive = more noise."""
    logit_std: float = 1.0
    """Standard deviation of logit(t)."""
    cosine_weight: float = 0.0
    """Weight of 1 - cos(prediction, velocity) per token beside the squared error (LightningDiT: 1). Not stated."""
    prediction: str = "velocity"
    """What the model outputs: velocity, or x = the data x_0 (JiT, arXiv 2511.13720)."""
    internal_guidance_weight: float = 0.0
    """Weight of the squared error of the model's head for internal guidance (arXiv 2512.24176: 0.5); 0 = no head."""
    label_dropout: float = 0.1
    """Share of samples that are trained without their condition (SiT: 0.1). Not stated in the paper."""

    def __post_init__(self) -> None:
        for name, shift in (("shift", self.shift), ("sampling_shift", self.sampling_shift)):
            if shift is not None and not shift > 0:
                raise ValueError(f"{name}: expected a number above 0 (1 = none, the paper 0.4); received {shift}")
        if self.time_distribution not in ("uniform", "logit-normal"):
            raise ValueError(
                f"time_distribution: expected uniform or logit-normal; received {self.time_distribution!r}"
            )
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"prediction: expected one of {', '.join(PREDICTIONS)}; received {self.prediction!r}")
        if not self.logit_std > 0:
            raise ValueError(f"logit_std: expected a number above 0; received {self.logit_std}")
        if not self.cosine_weight >= 0:
            raise ValueError(f"cosine_weight: expected a number of at least 0; received {self.cosine_weight}")
        if not self.internal_guidance_weight >= 0:
            received = self.internal_guidance_weight
            raise ValueError(f"internal_guidance_weight: expected a number of at least 0; received {received}")
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout: expected a share from 0 to 1; received {self.label_dropout}")

    @property
    def solver_shift(self) -> float:
        """The shift of the solver's times."""
        return self.shift if self.sampling_shift is None else self.sampling_shift

    def sample_t(
        self, count: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> torch.Tensor:
        """Training times (count,), float32 in [0, 1], shifted."""
        if self.time_distribution == "uniform":
            t = uniform((count,), generator, device)
        else:
            t = torch.sigmoid(self.logit_mean + self.logit_std * normal((count,), generator, device))
        return shift_times(t, self.shift)

    def velocity_model(self, model: Model) -> Model:
        """The model as one of velocities, for solvers; with x-prediction at times above 0 alone."""
        if self.prediction == "velocity":
            return model

        def velocity(x: torch.Tensor, t: torch.Tensor, y: Any, **how: bool) -> Any:
            found = model(x, t, y, **how)
            if isinstance(found, tuple):
                return tuple(velocity_of(one.float(), x, t) for one in found)
            return velocity_of(found.float(), x, t)

        return velocity

    def loss(
        self, model: Model, x0: torch.Tensor, conditions: Conditions, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """Mean squared error of the velocity, and the cosine loss when it has a weight.

        With x-prediction target and output become velocities with the same lower bound on t, so that the squared error
        is ‖x̂ - x_0‖² / max(t, 0.05)².

        Args:
            model: (x_t (N, ..., c), t (N,), conditions' inputs) -> what is predicted, of x_t's shape.
            x0: data (N, ..., c), already normalized.
            conditions: one for each sample.
            generator: source of times, noise and dropped conditions, on x0's device.

        Returns:
            `loss`; where it has other terms too, `velocity_mse`, `velocity_cosine` when the cosine loss is on, and
            `guide_mse` of the head for internal guidance. Scalars, float32.
        """
        x0 = x0.float()
        t = self.sample_t(len(x0), generator, x0.device)
        noise = normal(x0.shape, generator, x0.device)
        x_t, velocity = interpolate(x0, noise, t)
        y = conditions.with_dropout(self.label_dropout, generator).inputs
        guided = self.internal_guidance_weight > 0
        outputs = model(x_t, t, y, with_guide=True) if guided else (model(x_t, t, y),)
        predictions = [output.float() for output in outputs]
        if self.prediction == "x":
            *predictions, velocity = (velocity_of(x, x_t, t, MIN_LOSS_TIME) for x in (*predictions, x0))
        squared = F.mse_loss(predictions[0], velocity)
        losses = {"loss": squared}
        if guided:
            losses["guide_mse"] = F.mse_loss(predictions[1], velocity)
            losses["loss"] = losses["loss"] + self.internal_guidance_weight * losses["guide_mse"]
        if self.cosine_weight:
            cosine = 1 - F.cosine_similarity(predictions[0], velocity, dim=-1).mean()
            losses |= {"loss": losses["loss"] + self.cosine_weight * cosine, "velocity_cosine": cosine}
        return losses if len(losses) == 1 else {**losses, "velocity_mse": squared}
