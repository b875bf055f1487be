"""Generator → latents → features → images; the frozen encoder is not needed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fae.generators import FlowGenerator, Generator
from fae.images import to_uint8
from fae.models import PixelDecoder
from fae.nn import Grid, set_position_scaling
from fae.sampling import Conditions, Sized, parse_guidance, size_numbers
from jobs.config import SampleConfig, crop_offsets, height_width
from jobs.executors import OnProgress, autocast, compiles, pick_dtype
from jobs.loop import innermost_blocks
from jobs.runs import Autoencoder, Models, RunFolder, load_autoencoder, load_model
from jobs.sampling.conditioning import takes_text
from jobs.sampling.prompts import PromptEncoder, numbered
from jobs.sampling.sample_plan import SamplePlan
from jobs.sampling.sample_size import image_shape, latent_grid
from jobs.train import load_generator


@dataclass
class LatentDecoder:
    """Latents to images: by an autoencoder of features and a pixel decoder, or by an autoencoder of pixels."""

    autoencoder: Autoencoder
    decoder: PixelDecoder | None
    device: torch.device

    @classmethod
    def load(cls, autoencoder: RunFolder, decoder: RunFolder | None, device: torch.device) -> "LatentDecoder":
        """The models of finished runs; `decoder` is None for an autoencoder that decodes to pixels."""
        assert (decoder is None) == autoencoder.decodes_to_pixels, (autoencoder.path, decoder)
        return cls(
            load_autoencoder(autoencoder.model_path, device),
            load_model(PixelDecoder, decoder.model_path, device) if decoder else None,
            device,
        )

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Latents (N, h, w, c) → uint8 (N, H, W, 3)."""
        with autocast(self.device, pick_dtype("auto", self.device))():
            rebuilt = self.autoencoder.decode(latents.to(self.device)).float()
            return to_uint8(rebuilt if self.decoder is None else self.decoder(rebuilt))


@dataclass(frozen=True)
class SampledBatch:
    """Samples: latents (n, h, w, c) float32 and images uint8 (n, H, W, 3)."""

    latents: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class SampleConditions:
    """What samples are to show: each different condition once, and which of them each sample has (N,)."""

    different: Conditions
    numbers: torch.Tensor

    def part(self, rows: slice) -> Conditions:
        """Of some of the samples."""
        return self.different.index_select(self.numbers[rows])


@dataclass(frozen=True)
class Sampler:
    """The models that make samples, loaded once.

    `grid` (h, w) is that of the latents where another size than the trained one was asked for; `guide_model` is a
    weaker generator of the same latents to guide by instead of the empty condition (autoguidance); `prompts` encodes
    what a generator of captions takes; `sizes` (1, 6) are what one that is conditioned on size takes of every image.
    """

    generator: Generator
    latent_decoder: LatentDecoder
    grid: Grid | None = None
    guide_model: Generator | None = None
    prompts: PromptEncoder | None = None
    sizes: torch.Tensor | None = None

    @classmethod
    def load(cls, models: Models, device: torch.device, config: SampleConfig | None = None) -> "Sampler":
        """The finished models on a device; the generator with the weights that `config` names.

        They are compiled block by block: blocks are alike, so that it takes seconds, whatever the depth. A flow is not:
        each of its steps has another length.
        """
        config = config or SampleConfig()
        generator = load_generator(models.generator, device, config.checkpoint, config.weights)
        decoder = LatentDecoder.load(models.autoencoder, models.decoder, device)
        guide_model = load_generator(models.guide_model, device) if models.guide_model else None
        for model in (generator, decoder.autoencoder, decoder.decoder, guide_model):
            if model is not None:
                set_position_scaling(model, config.positions)
                if compiles(config.compile, device.type) and not isinstance(model, FlowGenerator):
                    for block in innermost_blocks(model):
                        block.compile()
        prompts = PromptEncoder(models.generator, generator, device) if takes_text(models.generator) else None
        grid = latent_grid(config, models) if config.size else None
        return cls(generator, decoder, grid, guide_model, prompts, _sizes(generator, config, models))

    def conditions(self, plan: SamplePlan) -> SampleConditions:
        """The conditions of a plan's images; each caption is encoded once, however often it is sampled."""
        found = self._unsized(plan)
        if self.sizes is None:
            return found
        return SampleConditions(Sized(found.different, self.sizes.repeat(len(found.different), 1)), found.numbers)

    def _unsized(self, plan: SamplePlan) -> SampleConditions:
        if plan.captions is None:
            return SampleConditions(
                self.generator.classes(torch.from_numpy(plan.labels)), torch.arange(len(plan.labels))
            )
        assert self.prompts is not None
        texts, numbers = numbered(plan.captions)
        return SampleConditions(self.prompts(texts), numbers)

    def make(self, conditions: Conditions, seeds: list[int], config: SampleConfig) -> SampledBatch:
        """Samples of these conditions and seeds, made at once; each depends on its own alone.

        Guidance is off where the generator is unconditional and no weaker one is there.
        """
        guided = self.guide_model is not None or not self.generator.unconditional
        with (
            torch.inference_mode(),
            autocast(self.latent_decoder.device, pick_dtype("auto", self.latent_decoder.device))(),
        ):
            latents = self.generator.sample(
                conditions,
                seeds,
                steps=config.steps,
                guidance=parse_guidance(config.guidance_interval, config.guidance_scale) if guided else (),
                solver=config.solver,
                guide_model=self.guide_model,
                internal_guidance=parse_guidance(config.internal_guidance_interval, config.internal_guidance_scale),
                grid=self.grid,
            )
        return SampledBatch(latents.float().cpu().numpy(), self.latent_decoder.decode(latents))


def _sizes(generator: Generator, config: SampleConfig, models: Models) -> torch.Tensor | None:
    """The numbers of `fae.sampling.SIZE_NUMBERS` (1, 6) that the settings mean; None where the model takes none."""
    if not generator.takes_sizes:
        return None
    original = None if config.original_size is None else height_width(config.original_size)
    return size_numbers(1, image_shape(config, models), original, crop_offsets(config.crop))


def sample(sampler: Sampler, plan: SamplePlan, config: SampleConfig, on_progress: OnProgress) -> Iterator[SampledBatch]:
    """Yield batches of samples in order."""
    total, conditions = len(plan.seeds), sampler.conditions(plan)
    on_progress(0, total, {})
    for start in range(0, total, config.batch_size):
        part = slice(start, start + config.batch_size)
        yield sampler.make(conditions.part(part), plan.seeds[part], config)
        on_progress(min(start + config.batch_size, total), total, {})
