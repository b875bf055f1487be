"""What every family of generators offers a trainer and a sampler.

A new family is one file here with a subclass of `Generator`, and one line in `jobs.train.families`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from fae.nn import Grid
from fae.rng import normal
from fae.sampling import SIZE_NUMBERS, Captions, Classes, Conditions, EmptyCaption, Guidance, Sized

Batch = Mapping[str, torch.Tensor]
EMPTY_PARTS = ("states", "length", "pooled")


class Generator(nn.Module, ABC):
    """A model of latents given a condition; latents go in and come out as the autoencoder has them.

    Args:
        model: with `grid` = (h, w), `in_channels` = c and `num_classes`, which is also the label of the null class (0
            classes: an unconditional generator); one that takes captions also with their `context_dim` and
            `pooled_dim`.
        latent_mean, latent_std: per channel (c,), of the latents that the model is trained on; the model sees
            (z - mean) / std. Not stated in the paper; VA-VAE and LightningDiT normalize per channel.
        empty_caption: padded to the length that the model is trained on; without it conditions are classes.

    Raises:
        ValueError: the statistics have another width than the model, or a deviation is not above 0.
    """

    latent_mean: torch.Tensor
    latent_std: torch.Tensor
    # Whether the model sees the zeros behind a caption, so that it always has to see as many.
    counts_padding = False

    def __init__(
        self,
        model: nn.Module,
        latent_mean: torch.Tensor,
        latent_std: torch.Tensor,
        empty_caption: EmptyCaption | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        facts = cast(Any, model)
        self.num_classes, self.grid, self.channels = facts.num_classes, tuple(facts.grid), facts.in_channels
        for name, values in (("latent_mean", latent_mean), ("latent_std", latent_std)):
            if values.shape != (self.channels,):
                raise ValueError(
                    f"{name}: expected one number for each of the model's {self.channels} channels; "
                    f"received shape {tuple(values.shape)}. Latents and generator are of different autoencoders"
                )
            self.register_buffer(name, values.detach().float().clone())
        if not bool((self.latent_std > 0).all()):
            raise ValueError("latent_std: expected numbers above 0; a channel that never varies cannot be normalized")
        self.takes_text = empty_caption is not None
        if empty_caption is not None:
            for name in EMPTY_PARTS:
                self.register_buffer(f"empty_{name}", getattr(empty_caption, name), persistent=False)
            _check_widths(facts, empty_caption.states, empty_caption.pooled)
            self._fewest_tokens = len(empty_caption.states) if self.counts_padding else int(empty_caption.length)

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """Named scalar losses of a batch, `loss` among them; every draw comes from `generator`."""

    @abstractmethod
    def sample(
        self,
        conditions: Conditions,
        seeds: Sequence[int],
        *,
        steps: int,
        guidance: Guidance,
        solver: str,
        guide_model: "Generator | None",
        internal_guidance: Guidance = (),
        grid: Grid | None = None,
    ) -> torch.Tensor:
        """Latents (N, h, w, c), one for each condition and seed, whatever else is in the batch.

        `grid` is (h, w), the trained one when absent.
        """

    @abstractmethod
    def evaluate(self, x: torch.Tensor, conditions: Conditions) -> Any:
        """Run the model once on normalized latents x (N, h, w, c): what costs are counted in."""

    @abstractmethod
    def num_function_evaluations(self, steps: int, guidance: Guidance, solver: str) -> float:
        """How many runs of the model `sample` takes for an image."""

    def held_out(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """Named metrics of rows that were not trained on, each a mean over them; none where a family has none."""
        return {}

    @property
    def has_guide_head(self) -> bool:
        """Whether the model has a head for internal guidance."""
        return getattr(self.model, "internal_guidance_depth", None) is not None

    def check_internal_guidance(self, guidance: Guidance) -> None:
        """Raise ValueError where guidance by the model's own head is asked of a model without one."""
        if not self.has_guide_head and any(interval.scale != 1 for interval in guidance):
            raise ValueError(
                "internal guidance: expected a generator that was trained with internal_guidance_weight above 0; "
                "received one without such a head"
            )

    @property
    def unconditional(self) -> bool:
        """Whether there is the null class alone, so that every sample has the same, empty condition."""
        return not self.takes_text and self.num_classes == 0

    @property
    def empty_caption(self) -> EmptyCaption | None:
        """The empty caption, where conditions are captions."""
        if not self.takes_text:
            return None
        return EmptyCaption(*(self.get_buffer(f"empty_{name}") for name in EMPTY_PARTS))

    def conditions(self, batch: Batch) -> Conditions:
        """Of a batch's `label` (N,) int64, negative = without one; or of `states`, `length` (N, 1) and `pooled`.

        An unconditional generator reads no labels. One that is conditioned on size takes `size` (N, 6) too.
        """
        found = self._unsized(batch)
        return Sized(found, batch["size"]) if self.takes_sizes else found

    @property
    def takes_sizes(self) -> bool:
        """Whether the model is conditioned on size and crop."""
        return getattr(self.model, "size_embedder", None) is not None

    def with_blank_sizes(self, conditions: Conditions) -> Conditions:
        """Conditions as the model takes them, with sizes of 0 where it takes any: to count its operations with."""
        if not self.takes_sizes:
            return conditions
        device = next(self.model.parameters()).device
        return Sized(conditions, torch.zeros(len(conditions), len(SIZE_NUMBERS), device=device))

    def _unsized(self, batch: Batch) -> Conditions:
        if self.takes_text:
            return self.captions(batch["states"], batch["length"].squeeze(1), batch["pooled"])
        labels = batch["label"]
        return self.classes(torch.full_like(labels, -1) if self.unconditional else labels)

    def captions(self, states: torch.Tensor, lengths: torch.Tensor, pooled: torch.Tensor) -> Captions:
        """Conditions of captions as the text encoder returns them: states (N, L, D), lengths (N,), pooled (N, P).

        States are cut after the number of tokens that the model is trained on. They are filled up with zeros as far as
        the empty caption reaches; to the full number where padding counts.

        Raises:
            ValueError: the model takes classes, or captions of another text encoder.
        """
        empty_caption = self.empty_caption
        if empty_caption is None:
            raise ValueError(f"captions: expected {self._known_classes()}; the generator takes no text")
        _check_widths(self.model, states, pooled)
        tokens = len(empty_caption.states)
        # (N, L, D) -> (N, ≤ tokens, D)
        fitted = nn.functional.pad(states[:, :tokens], (0, 0, 0, max(0, self._fewest_tokens - states.shape[1])))
        return Captions(fitted, lengths.long().clamp(max=tokens), pooled, empty_caption)

    def classes(self, labels: torch.Tensor) -> Classes:
        """Conditions of labels (N,) int64; negative = without one."""
        return Classes(labels, self.num_classes)

    def normalize(self, latents: torch.Tensor) -> torch.Tensor:
        """Stored latents (..., c) to zero mean and unit deviation per channel, float32."""
        return (latents.float() - self.latent_mean) / self.latent_std

    def denormalize(self, latents: torch.Tensor) -> torch.Tensor:
        """Inverse of `normalize`."""
        return latents.float() * self.latent_std + self.latent_mean

    def sample_posterior(self, latents: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Normalised latents (N, h, w, c) of stored ones, or one draw when mean and log-variance were stored."""
        latents = latents.float()
        if latents.shape[-1] == 2 * self.channels:
            mean, logvar = latents.chunk(2, dim=-1)  # (N, h, w, 2·c) -> 2 × (N, h, w, c)
            latents = mean + torch.exp(0.5 * logvar) * normal(mean.shape, generator, mean.device)
        return self.normalize(latents)

    def check_conditions(self, conditions: Conditions, seeds: Sequence[int]) -> None:
        """Raise ValueError unless there is one that the model knows for each seed."""
        if len(conditions) != len(seeds):
            raise ValueError(f"conditions: expected one for each of {len(seeds)} seeds; received {len(conditions)}")
        if isinstance(conditions, Sized) != self.takes_sizes:
            expected = "some with sizes" if self.takes_sizes else "none with sizes"
            raise ValueError(f"conditions: expected {expected}, as the model was trained; received {conditions!r:.40}")
        conditions = conditions.conditions if isinstance(conditions, Sized) else conditions
        if isinstance(conditions, Captions) != self.takes_text:
            expected = "captions" if self.takes_text else "classes"
            raise ValueError(f"conditions: expected {expected}, as the model was trained; received {conditions!r:.40}")
        if isinstance(conditions, Classes) and len(seeds) and int(conditions.labels.max()) >= self.num_classes:
            received = int(conditions.labels.max())
            raise ValueError(f"conditions: expected {self._known_classes()}, or -1 for none; received {received}")

    def _known_classes(self) -> str:
        return "no classes" if self.unconditional else f"classes from 0 to {self.num_classes - 1}"


def _check_widths(model: Any, states: torch.Tensor, pooled: torch.Tensor) -> None:
    received, expected = (states.shape[-1], pooled.shape[-1]), (model.context_dim, model.pooled_dim)
    if received != expected:
        raise ValueError(
            f"captions: expected states of {expected[0]} channels and pooled vectors of {expected[1]}; received "
            f"{received[0]} and {received[1]}; use the text encoder that the model was trained with"
        )
