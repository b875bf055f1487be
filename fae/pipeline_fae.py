"""FAEPipeline: classes to pictures with diffusers' interface, from a folder that `from_pretrained` loads."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput

from fae.autoencoder import FeatureAutoencoder
from fae.conditions import Classes
from fae.generators import DiffusionGenerator, Generator
from fae.guidance import Guidance, GuidanceInterval, guided_velocity, make_guidance
from fae.noise import seeded_noise
from fae.pixel_decoder import PixelDecoder
from fae.transport import Transport, shift_to_diffusers

OUTPUT_TYPES = ("pil", "np", "pt", "latent")
Generators = torch.Generator | Sequence[torch.Generator] | None
Labels = int | str | Sequence[int] | Sequence[str] | torch.Tensor
OnStepEnd = Callable[[Any, int, torch.Tensor, dict[str, torch.Tensor]], dict[str, torch.Tensor]]


def make_scheduler(transport: Transport) -> FlowMatchEulerDiscreteScheduler:
    """diffusers' Euler scheduler with the transport's shift, converted to diffusers' convention."""
    return FlowMatchEulerDiscreteScheduler(shift=shift_to_diffusers(transport.solver_shift))


class FAEPipeline(DiffusionPipeline):
    """Class-conditional pictures: noise → latents → features → pixels (FAE, arXiv 2512.07829).

    Args:
        transformer: the generator, (latents (N, h, w, c), t (N,), labels (N,)) → velocity, such as LightningDiT, with
            `grid`, `in_channels` and `num_classes`. Without a scheduler, a model whose `generate` makes latents
            of noise, labels and guidance, such as StarFlow.
        scheduler: a flow-match Euler scheduler; its `shift` is diffusers' (the paper's 0.4 is 2.5 here). None for
            generators that solve no ODE.
        autoencoder: the feature autoencoder, whose `latent_mean` and `latent_std` denormalise latents.
        pixel_decoder: features (N, h, w, C) → pictures.
        id2label: class names by id, the ids as text as JSON has them; optional.
    """

    model_cpu_offload_seq = "transformer->autoencoder->pixel_decoder"
    _callback_tensor_inputs = ("latents",)
    _optional_components: ClassVar[list[str]] = ["scheduler"]

    def __init__(
        self,
        transformer: ModelMixin,
        scheduler: FlowMatchEulerDiscreteScheduler | None,
        autoencoder: FeatureAutoencoder,
        pixel_decoder: PixelDecoder,
        id2label: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            transformer=transformer, scheduler=scheduler, autoencoder=autoencoder, pixel_decoder=pixel_decoder
        )
        self.register_to_config(id2label=id2label or {})
        self.class_ids = {name: int(number) for number, name in (id2label or {}).items()}
        self.image_processor = VaeImageProcessor()

    @classmethod
    def from_parts(
        cls,
        generator: Generator,
        autoencoder: FeatureAutoencoder,
        pixel_decoder: PixelDecoder,
        class_names: Sequence[str] | None = None,
    ) -> "FAEPipeline":
        """A pipeline of trained parts; the latents' statistics move from the generator into the autoencoder.

        Raises:
            ValueError: the parts are not of one autoencoder, or not of one frozen encoder.
        """
        _check_fit(generator, autoencoder, pixel_decoder)
        autoencoder.set_latent_statistics(generator.latent_mean.cpu(), generator.latent_std.cpu())
        names = {str(number): name for number, name in enumerate(class_names or [])}
        assert isinstance(generator.model, ModelMixin)
        scheduler = make_scheduler(generator.transport) if isinstance(generator, DiffusionGenerator) else None
        return cls(generator.model, scheduler, autoencoder, pixel_decoder, names)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Labels,
        guidance: float | Guidance | Sequence[Sequence[float]] = 1.0,
        num_inference_steps: int = 250,
        generator: Generators = None,
        seeds: Sequence[int] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ImagePipelineOutput | tuple[Any]:
        """One picture for each label.

        Args:
            class_labels: ids or names; -1 = without a class.
            guidance: a scale for all t (1 = none), or intervals (t_hi, t_lo, scale) with t = 1 noise.
            num_inference_steps: Euler steps (the paper: 250); not used without a scheduler.
            generator: one torch.Generator, or one for each label. Seeds are drawn from it, so the k-th picture is the
                same whatever the number of labels.
            seeds: one whole number ≥ 0 for each label, instead of `generator`.
            latents: normalised noise (N, h, w, c), instead of both.
            output_type: pil, np (N, H, W, 3) in [0, 1], pt (N, 3, H, W) in [0, 1], or latent: (N, h, w, c) as the
                autoencoder has them.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents": …}) after each of the scheduler's
                steps; may return other latents. Setting `pipeline._interrupt` ends the loop.

        Returns:
            ImagePipelineOutput with `images`, or a tuple of them when `return_dict` is False.

        Raises:
            ValueError: an unknown class, output type or callback input, or numbers of labels, seeds and generators
                that differ.
        """
        _check_choices(output_type, callback_on_step_end_tensor_inputs)
        labels = self._labels(class_labels)
        x = self._noise(len(labels), generator, seeds) if latents is None else latents
        x = x.to(self._execution_device, torch.float32)
        intervals = (GuidanceInterval(1, 0, guidance),) if isinstance(guidance, int | float) else _intervals(guidance)
        if self.scheduler is None:
            x = self.transformer.generate(x, torch.where(labels < 0, self._num_classes, labels), intervals)
        else:
            x = self._solve(x, labels, intervals, num_inference_steps, callback_on_step_end)
        images = self._paint(x, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _solve(
        self, x: torch.Tensor, labels: torch.Tensor, guidance: Guidance, steps: int, callback: OnStepEnd | None
    ) -> torch.Tensor:
        """Noise to latents by the scheduler's steps."""
        velocity = guided_velocity(self._velocity, Classes(labels, self._num_classes), guidance)
        # Explicit sigmas: by default the scheduler shifts the last one twice.
        sigmas = np.linspace(1, 1 / steps, steps)
        self.scheduler.set_timesteps(sigmas=sigmas)
        self._num_timesteps, self._interrupt = steps, False
        with self.progress_bar(total=steps) as bar:
            for step, timestep in enumerate(self.scheduler.timesteps):
                if self._interrupt:
                    break
                t = float(timestep) / self.scheduler.config.num_train_timesteps
                x = self.scheduler.step(velocity(x, t).float(), timestep, x).prev_sample
                if callback:
                    x = callback(self, step, timestep, {"latents": x}).get("latents", x)
                bar.update()
        return x

    @property
    def num_timesteps(self) -> int:
        """Steps of the last call."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether a callback has asked to stop."""
        return self._interrupt

    @property
    def _num_classes(self) -> int:
        return int(self.transformer.num_classes)

    def _velocity(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.transformer(x.to(self.transformer.dtype), t, y)

    def _labels(self, class_labels: Labels) -> torch.Tensor:
        listed = [class_labels] if isinstance(class_labels, int | str) else list(class_labels)
        unknown = [label for label in listed if isinstance(label, str) and label not in self.class_ids]
        if unknown:
            known = ", ".join(list(self.class_ids)[:10]) or "no names at all"
            raise ValueError(f"class_labels: expected a name of this model ({known}, …); received {unknown[0]!r}")
        ids = [self.class_ids[label] if isinstance(label, str) else int(label) for label in listed]
        if not ids or not all(-1 <= number < self._num_classes for number in ids):
            raise ValueError(
                f"class_labels: expected ids from 0 to {self._num_classes - 1}, or -1 for none; received {ids}"
            )
        return torch.tensor(ids, device=self._execution_device)

    def _noise(self, count: int, generator: Generators, seeds: Sequence[int] | None) -> torch.Tensor:
        if seeds is None:
            seeds = _draw_seeds(count, generator)
        if len(seeds) != count:
            raise ValueError(f"seeds: expected one for each of {count} labels; received {len(seeds)}")
        return seeded_noise(seeds, (*self.transformer.grid, self.transformer.in_channels))

    def _paint(self, x: torch.Tensor, output_type: str) -> Any:
        latents = x * self.autoencoder.latent_std.float() + self.autoencoder.latent_mean.float()
        if output_type == "latent":
            return latents
        features = self.autoencoder.decode(latents.to(self.autoencoder.dtype))
        pictures = self.pixel_decoder(features.to(self.pixel_decoder.dtype)).float()
        return self.image_processor.postprocess(pictures, output_type)


def _intervals(guidance: Guidance | Sequence[Sequence[float]]) -> Guidance:
    return make_guidance(
        [(span.t_hi, span.t_lo, span.scale) if isinstance(span, GuidanceInterval) else span for span in guidance]
    )


def _draw_seeds(count: int, generator: Generators) -> list[int]:
    """One seed a picture: the k-th draw of one generator, or the first of the k-th."""
    if isinstance(generator, torch.Generator) or generator is None:
        device = generator.device if generator else "cpu"
        return [int(torch.randint(2**62, (), generator=generator, device=device)) for _ in range(count)]
    return [int(torch.randint(2**62, (), generator=one, device=one.device)) for one in generator]


def _check_choices(output_type: str, callback_inputs: Sequence[str]) -> None:
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"output_type: expected one of {', '.join(OUTPUT_TYPES)}; received {output_type!r}")
    unknown = sorted(set(callback_inputs) - set(FAEPipeline._callback_tensor_inputs))
    if unknown:
        raise ValueError(f"callback_on_step_end_tensor_inputs: expected latents alone; received {', '.join(unknown)}")


def _check_fit(generator: Generator, autoencoder: FeatureAutoencoder, pixel_decoder: PixelDecoder) -> None:
    have = (*generator.grid, generator.channels)
    want = (*autoencoder.grid, autoencoder.config.latent_channels)
    if have != want:
        raise ValueError(f"generator: expected latents {want} of the autoencoder; received a generator of {have}")
    have = (*pixel_decoder.grid, pixel_decoder.config.feature_dim)
    want = (*autoencoder.grid, autoencoder.config.feature_dim)
    if have != want:
        raise ValueError(f"pixel decoder: expected features {want} of the autoencoder; received a decoder of {have}")
