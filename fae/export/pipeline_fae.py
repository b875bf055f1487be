"""FAEPipeline: classes or captions to images with diffusers' interface, in a folder that `from_pretrained` loads."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Optional

import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from fae.encoders import TextEncoder
from fae.export.pipeline_inputs import (
    Generators,
    Labels,
    check_choices,
    check_guide_head,
    check_unconditional,
    checked_latents,
    class_ids,
    guidance_intervals,
    image_count,
    image_seeds,
    image_sizes,
    negative_prompts,
    prompt_captions,
    repeated,
    token_grid,
    with_sizes,
)
from fae.export.saving import FolderPipeline
from fae.export.schedule import set_times, step_times
from fae.models import FeatureAutoencoder, PixelDecoder
from fae.nn import INTERPOLATE, set_position_scaling
from fae.rng import seeded_noise
from fae.sampling import Captions, Classes, Conditions, Guidance, Transport, Velocity, guided_velocity
from fae.weights import align_module

OnStepEnd = Callable[[Any, int, torch.Tensor, dict[str, torch.Tensor]], dict[str, torch.Tensor]]


class FAEPipeline(FolderPipeline):
    """Images of classes, of captions or of no condition: noise → latents → features → pixels (FAE, arXiv 2512.07829).

    Args:
        transformer: the generator, (latents (N, h, w, c), t (N,), labels (N,) or captions) → prediction, such as
            LightningDiT, with `grid`, `in_channels` and `num_classes`. Without a scheduler, a model whose `generate`
            makes latents of noise, labels or captions, and guidance, such as StarFlow.
        scheduler: one of `fae.export.schedule.SCHEDULERS`; its shift is diffusers' (the paper's 0.4 is 2.5 here). None
            for generators that solve no ODE.
        autoencoder: the feature autoencoder, whose `latent_mean` and `latent_std` denormalize latents.
        pixel_decoder: features (N, h, w, C) → images.
        tokenizer, text_encoder: transformers' own, for a generator that takes captions; None for one of classes.
        id2label: class names by id, the ids as text as JSON has them; optional.
        max_tokens: tokens of a caption beyond which it is cut, as the generator was trained.
        prediction: what the transformer outputs: velocity, or x = normalized latents.
    """

    model_cpu_offload_seq = "text_encoder->transformer->autoencoder->pixel_decoder"
    _callback_tensor_inputs = ("latents",)
    _optional_components: ClassVar[list[str]] = ["scheduler", "tokenizer", "text_encoder"]

    def __init__(
        self,
        transformer: ModelMixin,
        # Optional: diffusers before 0.36 knows no other spelling of it.
        scheduler: Optional[SchedulerMixin],  # noqa: UP045
        autoencoder: FeatureAutoencoder,
        pixel_decoder: PixelDecoder,
        tokenizer: Any = None,
        text_encoder: Any = None,
        id2label: Optional[dict[str, str]] = None,  # noqa: UP045
        max_tokens: Optional[int] = None,  # noqa: UP045
        prediction: str = "velocity",
    ) -> None:
        super().__init__()
        # diffusers and transformers map the files of a folder.
        for part in (transformer, autoencoder, pixel_decoder, text_encoder):
            if isinstance(part, torch.nn.Module):
                align_module(part)
        self.register_modules(
            transformer=transformer,
            scheduler=scheduler,
            autoencoder=autoencoder,
            pixel_decoder=pixel_decoder,
            tokenizer=tokenizer,
            text_encoder=text_encoder,
        )
        self.register_to_config(id2label=id2label or {}, max_tokens=max_tokens, prediction=prediction)
        self._velocity_model = Transport(prediction=prediction).velocity_model(self._predict)
        self.class_ids = {name: int(number) for number, name in (id2label or {}).items()}
        self.image_processor = VaeImageProcessor()

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Labels | None = None,
        guidance_scale: float = 1.0,
        num_inference_steps: int = 250,
        generator: Generators = None,
        seeds: Sequence[int] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        prompt: str | Sequence[str] | None = None,
        batch_size: int | None = None,
        guidance_interval: str | Sequence[Sequence[float]] = "1,0",
        internal_guidance_scale: float = 1.0,
        internal_guidance_interval: str | Sequence[Sequence[float]] = "1,0.1",
        num_images_per_prompt: int = 1,
        negative_prompt: str | Sequence[str] | None = None,
        sigmas: Sequence[float] | None = None,
        timesteps: Sequence[float] | None = None,
        height: int | None = None,
        width: int | None = None,
        positions: str = INTERPOLATE,
        original_size: tuple[int, int] | None = None,
        crops_coords_top_left: tuple[int, int] | None = None,
    ) -> ImagePipelineOutput | tuple[Any]:
        """`num_images_per_prompt` images of each label or prompt; `batch_size` images of an unconditional model.

        Args:
            class_labels: ids or names; -1 = without a class.
            guidance_scale: classifier-free guidance; 1 = none.
            num_inference_steps: of the scheduler (Euler, the paper: 250); not used without one, nor with times given.
            generator: one torch.Generator, or one for each image. Seeds are drawn from it, so the k-th image is the
                same whatever the number of images.
            seeds: one whole number ≥ 0 for each image, instead of `generator`.
            latents: normalized noise (N, h, w, c), one for each image, instead of seeds.
            output_type: pil, np (N, H, W, 3) in [0, 1], pt (N, 3, H, W) in [0, 1], or latent: (N, h, w, c) as the
                autoencoder has them.
            return_dict: an ImagePipelineOutput, or a tuple when False.
            callback_on_step_end: called as (pipeline, step, timestep, {"latents": …}) after each of the scheduler's
                steps; may return other latents. Setting `pipeline._interrupt` ends the loop.
            callback_on_step_end_tensor_inputs: what it is handed; latents alone.
            prompt: captions, for a model that knows these and no classes; "" = without one.
            batch_size: images of an unconditional model, which takes neither labels nor prompts nor guidance; the
                number of seeds, latents or generators when absent, else 1.
            guidance_interval: where `guidance_scale` applies, (t_hi, t_lo) with t = 1 noise; several, each with a scale
                of its own where it is a triple; or text as on the command line ("0.9,0", "paper").
            internal_guidance_scale: guidance by the transformer's own early head, where it has one; 1 = none.
            internal_guidance_interval: where that applies, as `guidance_interval`.
            num_images_per_prompt: those of a label or prompt follow each other.
            negative_prompt: what guidance leads away from, in the place of the empty caption: one for all prompts, or
                one for each; for models of captions with a scheduler.
            sigmas: descending times t of the steps, 1 = noise, which the scheduler shifts; instead of a number of them.
            timesteps: descending times of the steps times 1,000, used as they are; instead of `sigmas`.
            height, width: of the images in pixels, multiples of the pixel decoder's patch; those of training when
                absent. On others shapes are right, quality is not promised.
            positions: where the tokens of another size lie: interpolate = between the trained positions, extrapolate =
                at the trained distances, around the middle and beyond.
            original_size: (height, width) that the images are said to have had before they were resized, for a
                transformer that is conditioned on size (SDXL); their own when absent.
            crops_coords_top_left: what is said to have been cut off then, above and on the left; (0, 0) when absent.

        Returns:
            ImagePipelineOutput with `images`, or a tuple of them when `return_dict` is False.

        Raises:
            ValueError: an unknown class, output type or callback input, classes where captions are known or the other
                way round, any of them or guidance where neither is known, numbers of images, seeds, latents and
                generators that differ, fewer than one step, or a scheduler that solves no flow.
        """
        check_choices(output_type, callback_on_step_end_tensor_inputs, self._callback_tensor_inputs)
        intervals = guidance_intervals(guidance_scale, guidance_interval)
        internal = guidance_intervals(internal_guidance_scale, internal_guidance_interval)
        check_guide_head(self.transformer, internal)
        grid = token_grid(height, width, self.transformer.grid, self.pixel_decoder.config.patch_size)
        for part in (self.transformer, self.autoencoder, self.pixel_decoder):
            set_position_scaling(part, positions)
        set_times(self.scheduler, num_inference_steps, sigmas, timesteps)
        if self._unconditional:
            check_unconditional(class_labels, prompt, num_images_per_prompt, intervals)
            class_labels = [-1] * image_count(batch_size, generator, seeds, latents)
        elif batch_size is not None:
            raise ValueError("batch_size: expected none; give num_images_per_prompt for several of each")
        sizes = image_sizes(
            *(self.transformer, grid, self.pixel_decoder.config.patch_size, original_size, crops_coords_top_left)
        )
        conditions = with_sizes(repeated(self._conditions(class_labels, prompt), num_images_per_prompt), sizes)
        avoided = self._negative(negative_prompt, len(conditions), num_images_per_prompt, intervals)
        negative = None if avoided is None else with_sizes(avoided, sizes)
        shape = (len(conditions), *grid, self.transformer.in_channels)
        x = self._noise(shape, generator, seeds, latents).to(self._execution_device, torch.float32)
        if self.scheduler is None:
            x = self.transformer.generate(x, conditions.inputs, intervals)
        else:
            velocity = guided_velocity(
                self._velocity_model, conditions, intervals, internal_guidance=internal, negative=negative
            )
            x = self._solve(x, velocity, callback_on_step_end)
        images = self._to_images(x, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _solve(self, x: torch.Tensor, velocity: Velocity, callback: OnStepEnd | None) -> torch.Tensor:
        """Noise to latents by the scheduler's steps."""
        times = step_times(self.scheduler)
        self._num_timesteps, self._interrupt = len(times), False
        with self.progress_bar(total=len(times)) as bar:
            for step, (timestep, t) in enumerate(zip(self.scheduler.timesteps, times, strict=True)):
                if self._interrupt:
                    break
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

    @property
    def _unconditional(self) -> bool:
        return self.text_encoder is None and self._num_classes == 0

    def _predict(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | Captions, **how: bool) -> Any:
        return self.transformer(x.to(self.transformer.dtype), t, y, **how)

    def _conditions(self, class_labels: Labels | None, prompt: str | Sequence[str] | None) -> Conditions:
        """The condition of each image.

        Raises:
            ValueError: classes for a model that knows captions, captions for one that knows classes, or neither.
        """
        if self.text_encoder is None:
            if class_labels is None or prompt is not None:
                raise ValueError("class_labels: expected them, and no prompt: this model takes classes alone")
            ids = class_ids(class_labels, self.class_ids, self._num_classes)
            return Classes(torch.tensor(ids, device=self._execution_device), self._num_classes)
        if prompt is None or class_labels is not None:
            raise ValueError("prompt: expected captions, and no class_labels: this model takes captions alone")
        return self._captions([prompt] if isinstance(prompt, str) else list(prompt))

    def _captions(self, prompts: Sequence[str]) -> Captions:
        encoder = TextEncoder(self.tokenizer, self.text_encoder, self._execution_device)
        return prompt_captions(encoder, prompts, self.config.max_tokens)

    def _negative(
        self, prompt: str | Sequence[str] | None, images: int, each: int, guidance: Guidance
    ) -> Captions | None:
        """The condition that guidance leads away from, of each image; None = the empty caption."""
        if prompt is None:
            return None
        if self.text_encoder is None or self.scheduler is None:
            what = "takes no captions" if self.text_encoder is None else "is guided by the empty caption alone"
            raise ValueError(f"negative_prompt: expected none, since this model {what}; received {prompt!r:.80}")
        prompts = negative_prompts(prompt, images // each, guidance)
        return repeated(self._captions(prompts), each)

    def _noise(
        self,
        shape: tuple[int, ...],
        generator: Generators,
        seeds: Sequence[int] | None,
        latents: torch.Tensor | None,
    ) -> torch.Tensor:
        if latents is not None:
            return checked_latents(latents, shape, seeds)
        return seeded_noise(image_seeds(shape[0], generator, seeds), shape[1:])

    def _to_images(self, x: torch.Tensor, output_type: str) -> Any:
        mean, std = (one.to(x) for one in (self.autoencoder.latent_mean, self.autoencoder.latent_std))
        latents = x * std + mean
        if output_type == "latent":
            return latents
        features = self.autoencoder.decode(latents.to(self.autoencoder.dtype))
        images = self.pixel_decoder(features.to(self.pixel_decoder.dtype)).float()
        return self.image_processor.postprocess(images, output_type)
