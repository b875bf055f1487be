"""The flow as a generator: trained by exact likelihood on noised latents, sampled token by token, then denoised."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch

from fae.generators.base import Batch, Generator
from fae.models import FlowBlock, Flowed, StarFlow, bits_per_dim
from fae.nn import Grid
from fae.rng import normal, seeded_noise
from fae.sampling import Conditions, EmptyCaption, Guidance


@dataclass(frozen=True)
class FlowLoss:
    """How a flow is trained beside its likelihood; the defaults are those of STARFlow (arXiv 2506.06276)."""

    label_dropout: float = 0.1
    """Share of samples that are trained without their label."""
    inner_norm_weight: float = 1e-4
    """Weight of the mean squares between the blocks, which keeps them near the scale of noise (ml-starflow's latent
    norm regularizer)."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout: expected a share from 0 to 1; received {self.label_dropout}")
        if not self.inner_norm_weight >= 0:
            raise ValueError(f"inner_norm_weight: expected a number of at least 0; received {self.inner_norm_weight}")


class FlowGenerator(Generator):
    """A flow of normalized latents with noise on them, which its samples lose again.

    Args:
        model: the flow.
        settings: label dropout and regularizer.
        latent_mean, latent_std, empty_caption: see `Generator`.
    """

    model: StarFlow
    counts_padding = True

    def __init__(
        self,
        model: StarFlow,
        settings: FlowLoss,
        latent_mean: torch.Tensor,
        latent_std: torch.Tensor,
        empty_caption: EmptyCaption | None = None,
    ) -> None:
        super().__init__(model, latent_mean, latent_std, empty_caption)
        self.settings = settings

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """Negative log-likelihood of noised latents, nats for each number, and the regularizer.

        Args:
            batch: `latents` (N, h, w, c) or moments (N, h, w, 2·c), and what `conditions` takes.
            generator: source of every draw.

        Returns:
            `loss`, `bits_per_dim` and `inner_norm`. Scalars, float32.
        """
        x = self._noised(batch, generator)
        conditions = self.conditions(batch).with_dropout(self.settings.label_dropout, generator)
        flowed = self.model(x, conditions.inputs)
        inner_norm = flowed.inner_norm.mean()
        bits = bits_per_dim(flowed.log_prob(), x[0].numel()).mean()
        loss = bits * math.log(2) + self.settings.inner_norm_weight * inner_norm
        return {"loss": loss, "bits_per_dim": bits, "inner_norm": inner_norm}

    @torch.no_grad()
    def held_out(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """`bits_per_dim` of noised, normalized latents given their conditions; standard normal numbers have 2.047."""
        x = self._noised(batch, generator)
        flowed = self.model(x, self.conditions(batch).inputs)
        return {"bits_per_dim": bits_per_dim(flowed.log_prob(), x[0].numel()).mean()}

    def evaluate(self, x: torch.Tensor, conditions: Conditions) -> Flowed:
        """Noise and log-determinant."""
        flowed: Flowed = self.model(x, conditions.inputs)
        return flowed

    def num_function_evaluations(self, steps: int, guidance: Guidance, solver: str) -> float:
        """Every token passes every layer once, with guidance the deep block's twice; the gradient costs two runs."""
        depths = [len(cast(FlowBlock, block).blocks) for block in self.model.flow_blocks]
        guided = any(scale != 1 for scale in self.model.scales(guidance))
        return 1 + guided * depths[-1] / sum(depths) + 2 * (self.model.noise_std > 0)

    @torch.no_grad()
    def sample(
        self,
        conditions: Conditions,
        seeds: Sequence[int],
        *,
        steps: int = 1,
        guidance: Guidance = (),
        solver: str = "euler",
        guide_model: Generator | None = None,
        internal_guidance: Guidance = (),
        grid: Grid | None = None,
    ) -> torch.Tensor:
        """Latents (N, h, w, c), float32, on the model's device.

        Args:
            conditions: one for each sample.
            seeds: one for each sample.
            steps: of diffusion; a flow has none.
            solver: of diffusion; a flow has none.
            guidance: intervals of t with their scale, where the k-th of T tokens to be made has t = 1 - k/T: 1 while
                all is noise, near 0 at the last one.
            guide_model: must be absent: two flows have no inner tokens in common that one could guide the other by.
            internal_guidance: must be none: a flow has no head before its last layer.
            grid: (h, w) of the latents; the one that the model was trained on when absent.

        Raises:
            ValueError: an unknown class, conditions and seeds that differ in number, or a guide model.
        """
        self.check_conditions(conditions, seeds)
        self.check_internal_guidance(internal_guidance)
        if guide_model is not None:
            raise ValueError(
                "autoguidance: expected none with a flow; use guidance_scale, which the empty condition serves"
            )
        device = self.latent_mean.device
        z = seeded_noise(seeds, (*(grid or self.grid), self.channels), device)
        return self.denormalize(self.model.generate(z, conditions.to(device).inputs, guidance))

    def _noised(self, batch: Batch, generator: torch.Generator | None) -> torch.Tensor:
        x = self.sample_posterior(batch["latents"], generator)
        return x + self.model.noise_std * normal(x.shape, generator, x.device)
