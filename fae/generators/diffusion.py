"""The diffusion family: a model of velocities or data, and the path from noise to data that it was trained on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from fae.generators.alignment import Alignment
from fae.generators.base import Batch, Generator
from fae.nn import Grid
from fae.rng import noise_stream
from fae.sampling import (
    Conditions,
    EmptyCaption,
    Guidance,
    Model,
    OnStep,
    Transport,
    guided_velocity,
    ode_times,
    scale_at,
    sde_times,
    solve,
)


class DiffusionGenerator(Generator):
    """A model of the transport's prediction (velocity or x), and the path it was trained on.

    Args:
        model: (x (N, h, w, c), t (N,), conditions' inputs) -> prediction; see `Generator` for its facts.
        transport: prediction, times, shift, dropout of conditions and losses.
    """

    def __init__(
        self,
        model: nn.Module,
        transport: Transport,
        latent_mean: torch.Tensor,
        latent_std: torch.Tensor,
        empty_caption: EmptyCaption | None = None,
    ) -> None:
        super().__init__(model, latent_mean, latent_std, empty_caption)
        self.transport = transport
        self.alignment: Alignment | None = None

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """The transport's losses of a batch.

        Args:
            batch: `latents` (N, h, w, c), or (N, h, w, 2·c) moments of which one draw is taken; what `conditions`
                takes; and `features` (N, h, w, C) of the same images where tokens are aligned with them.
            generator: source of every draw.
        """
        x0 = self.sample_posterior(batch["latents"], generator)
        alignment = self.alignment
        if alignment is None:
            return self.transport.loss(self.model, x0, self.conditions(batch), generator)
        kept: list[torch.Tensor] = []

        def model(x: torch.Tensor, t: torch.Tensor, y: Any, **how: bool) -> Any:
            *predictions, tokens = self.model(x, t, y, tokens_of=alignment.config.block, **how)
            kept.append(tokens)
            return tuple(predictions) if how else predictions[0]

        losses = self.transport.loss(model, x0, self.conditions(batch), generator)
        term = alignment(kept[0], batch["features"]) if alignment.active else alignment.idle()
        own = {"velocity_mse": losses["loss"]} | losses
        return {**own, "loss": losses["loss"] + alignment.config.weight * term, "alignment": term}

    @torch.no_grad()
    def held_out(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """`velocity_mse`: the velocity's squared error for normalized latents, at times drawn as in training."""
        x0, undropped = self.sample_posterior(batch["latents"], generator), replace(self.transport, label_dropout=0.0)
        losses = undropped.loss(self.model, x0, self.conditions(batch), generator)
        return {"velocity_mse": losses.get("velocity_mse", losses["loss"])}

    def evaluate(self, x: torch.Tensor, conditions: Conditions) -> Any:
        """The model's prediction at t = 0; where it has a head for internal guidance, that one's too."""
        how = {"with_guide": True} if self.has_guide_head else {}
        prediction = self.model(x, x.new_zeros(len(x)), conditions.inputs, **how)
        return prediction[0] if self.has_guide_head else prediction

    @property
    def velocity_model(self) -> Model:
        """The model as one of velocities, at times above 0."""
        return self.transport.velocity_model(self.model)

    def num_function_evaluations(self, steps: int, guidance: Guidance, solver: str) -> float:
        """Of the velocity: two in a step that is guided, and twice as many by Heun's method.

        With x-prediction Heun's last step is Euler's.
        """
        times = (sde_times if solver == "sde" else ode_times)(steps, self.transport.solver_shift)
        counts = [2 if scale_at(guidance, t) not in (0.0, 1.0) else 1 for t in times]
        ahead = counts[1:] if self._finite_at_zero else counts[1:-1]
        return sum(counts[:-1]) + (sum(ahead) if solver == "heun" else 0)

    @property
    def _finite_at_zero(self) -> bool:
        return self.transport.prediction == "velocity"

    @torch.no_grad()
    def sample(
        self,
        conditions: Conditions,
        seeds: Sequence[int],
        *,
        steps: int = 250,
        guidance: Guidance = (),
        solver: str = "euler",
        guide_model: Generator | None = None,
        internal_guidance: Guidance = (),
        grid: Grid | None = None,
        on_step: OnStep | None = None,
    ) -> torch.Tensor:
        """Latents (N, h, w, c), float32, on the model's device.

        Args:
            conditions: one for each sample.
            seeds: one for each sample.
            steps: of the solver (the paper: 250).
            guidance: intervals of t with their scale; none = no guidance.
            solver: `euler` (the paper's with guidance), `heun` (two evaluations a step), `dpm++` (second order at one
                evaluation a step) or `sde` (the paper's without).
            guide_model: a weaker generator of the same latents, to guide by instead of the empty condition; its
                prediction may be another.
            internal_guidance: intervals of t with the scale of guidance by the model's own head; no evaluation more.
            grid: (h, w) of the latents; the one that the model was trained on when absent.
            on_step: called after each step with its number, the time reached and the normalized state.

        Raises:
            ValueError: an unknown class, conditions and seeds that differ in number, an unknown solver, or a guide
                model of another family.
        """
        self.check_conditions(conditions, seeds)
        self.check_internal_guidance(internal_guidance)
        if guide_model is not None and not isinstance(guide_model, DiffusionGenerator):
            raise ValueError(
                f"autoguidance: expected a generator with a velocity; received a {type(guide_model).__name__}"
            )
        device = self.latent_mean.device
        draw = noise_stream(seeds, (*(grid or self.grid), self.channels), device)
        guide = guide_model.velocity_model if guide_model else None
        velocity = guided_velocity(self.velocity_model, conditions.to(device), guidance, guide, internal_guidance)
        shift, finite = self.transport.solver_shift, self._finite_at_zero
        return self.denormalize(solve(solver, velocity, draw, steps, shift, on_step, finite_at_zero=finite))
