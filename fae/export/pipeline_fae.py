"""FAEPipeline: classes or captions to images with diffusers' interface, in a folder that `from_pretrained` loads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from huggingface_hub import snapshot_download, try_to_load_from_cache

from fae.encoders import TextEncoder
from fae.export.folder import CARD_FILE, complete_folder, copy_card
from fae.export.model_classes import MODELS, model_class
from fae.export.pipeline_inputs import (
    Generators,
    Labels,
    check_choices,
    check_guide_head,
    class_ids,
    guidance_intervals,
    image_count,
    image_seeds,
    prompt_captions,
)
from fae.models import FeatureAutoencoder, PixelDecoder
from fae.rng import seeded_noise
from fae.sampling import Captions, Classes, Conditions, Guidance, Transport, guided_velocity
from fae.weights import align_module

_DOWNLOAD_SETTINGS = ("revision", "cache_dir", "force_download", "local_files_only", "token")
OnStepEnd = Callable[[Any, int, torch.Tensor, dict[str, torch.Tensor]], dict[str, torch.Tensor]]


class FAEPipeline(DiffusionPipeline):
    """Images of classes, of captions or of no condition: noise → latents → features → pixels (FAE, arXiv 2512.07829).

    Args:
        transformer: the generator, (latents (N, h, w, c), t (N,), labels (N,) or captions) → prediction, such as
            LightningDiT, with `grid`, `in_channels` and `num_classes`. Without a scheduler, a model whose `generate`
            makes latents of noise, labels or captions, and guidance, such as StarFlow.
        scheduler: a flow-match Euler scheduler; its `shift` is diffusers' (the paper's 0.4 is 2.5 here). None for
            generators that solve no ODE.
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
        scheduler: FlowMatchEulerDiscreteScheduler | None,
        autoencoder: FeatureAutoencoder,
        pixel_decoder: PixelDecoder,
        tokenizer: Any = None,
        text_encoder: Any = None,
        id2label: dict[str, str] | None = None,
        max_tokens: int | None = None,
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

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """A folder's model_index.json, with the classes of this package in the place of those in the folder."""
        found = super().load_config(*args, **kwargs)
        return (_own_classes(found[0]), *found[1:]) if isinstance(found, tuple) else _own_classes(found)

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> Any:
        """The folder of a repository of the hub; without `trust_remote_code` its code is left there."""
        if kwargs.get("trust_remote_code"):
            return super().download(pretrained_model_name, **kwargs)
        settings = {name: kwargs[name] for name in _DOWNLOAD_SETTINGS if name in kwargs}
        return snapshot_download(pretrained_model_name, ignore_patterns=["*.py"], **settings)

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> "FAEPipeline":
        """A pipeline of the same parts, of which those in `kwargs` are replaced."""
        made: FAEPipeline = super().from_pipe(pipeline, **{"transformer": pipeline.transformer, **kwargs})
        return made

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save the parts with this package's code, and the card of the folder that they were loaded from."""
        super().save_pretrained(save_directory, *args, **kwargs)
        self._complete(Path(save_directory))

    def _upload_folder(self, working_dir: str | Path, *args: Any, **kwargs: Any) -> Any:
        # diffusers has written an empty card here.
        self._complete(Path(working_dir))
        return super()._upload_folder(working_dir, *args, **kwargs)

    def _complete(self, folder: Path) -> None:
        complete_folder(folder)
        source = self.config.get("_name_or_path")
        if source:
            copy_card(_local_folder(str(source)), folder)

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
    ) -> ImagePipelineOutput | tuple[Any]:
        """One image for each label or prompt; `batch_size` images of an unconditional model.

        Args:
            class_labels: ids or names; -1 = without a class.
            guidance_scale: classifier-free guidance; 1 = none.
            num_inference_steps: Euler steps (the paper: 250); not used without a scheduler.
            generator: one torch.Generator, or one for each label. Seeds are drawn from it, so the k-th image is the
                same whatever the number of labels.
            seeds: one whole number ≥ 0 for each label, instead of `generator`.
            latents: normalized noise (N, h, w, c), instead of both.
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

        Returns:
            ImagePipelineOutput with `images`, or a tuple of them when `return_dict` is False.

        Raises:
            ValueError: an unknown class, output type or callback input, classes where captions are known or the other
                way round, any of them or guidance where neither is known, or numbers of labels, seeds and generators
                that differ.
        """
        check_choices(output_type, callback_on_step_end_tensor_inputs, self._callback_tensor_inputs)
        intervals = guidance_intervals(guidance_scale, guidance_interval)
        internal = guidance_intervals(internal_guidance_scale, internal_guidance_interval)
        check_guide_head(self.transformer, internal)
        if self._unconditional:
            self._check_unconditional(class_labels, prompt, intervals)
            class_labels = [-1] * image_count(batch_size, generator, seeds, latents)
        elif batch_size is not None:
            raise ValueError("batch_size: expected none; there is an image for each label or prompt")
        conditions = self._conditions(class_labels, prompt)
        x = self._noise(len(conditions), generator, seeds) if latents is None else latents
        x = x.to(self._execution_device, torch.float32)
        if self.scheduler is None:
            x = self.transformer.generate(x, conditions.inputs, intervals)
        else:
            x = self._solve(x, conditions, (intervals, internal), num_inference_steps, callback_on_step_end)
        images = self._to_images(x, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _solve(
        self,
        x: torch.Tensor,
        conditions: Conditions,
        guidance: tuple[Guidance, Guidance],
        steps: int,
        callback: OnStepEnd | None,
    ) -> torch.Tensor:
        """Noise to latents by the scheduler's steps; `guidance` by the empty condition, and by the model's own head."""
        by_empty, internal = guidance
        velocity = guided_velocity(self._velocity_model, conditions, by_empty, internal_guidance=internal)
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

    @property
    def _unconditional(self) -> bool:
        return self.text_encoder is None and self._num_classes == 0

    def _predict(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | Captions, **how: bool) -> Any:
        return self.transformer(x.to(self.transformer.dtype), t, y, **how)

    @staticmethod
    def _check_unconditional(class_labels: Labels | None, prompt: str | Sequence[str] | None, spans: Guidance) -> None:
        if class_labels is not None or prompt is not None:
            raise ValueError("class_labels, prompt: expected neither: this model is unconditional; give batch_size")
        scales = [span.scale for span in spans if span.scale != 1]
        if scales:
            raise ValueError(f"guidance_scale: expected 1, since this model is unconditional; received {scales[0]:g}")

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
        encoder = TextEncoder(self.tokenizer, self.text_encoder, self._execution_device)
        return prompt_captions(encoder, [prompt] if isinstance(prompt, str) else list(prompt), self.config.max_tokens)

    def _noise(self, count: int, generator: Generators, seeds: Sequence[int] | None) -> torch.Tensor:
        seeds = image_seeds(count, generator, seeds)
        return seeded_noise(seeds, (*self.transformer.grid, self.transformer.in_channels))

    def _to_images(self, x: torch.Tensor, output_type: str) -> Any:
        latents = x * self.autoencoder.latent_std.float() + self.autoencoder.latent_mean.float()
        if output_type == "latent":
            return latents
        features = self.autoencoder.decode(latents.to(self.autoencoder.dtype))
        images = self.pixel_decoder(features.to(self.pixel_decoder.dtype)).float()
        return self.image_processor.postprocess(images, output_type)


def _own_classes(index: dict[str, Any]) -> dict[str, Any]:
    """Names the module and the class of each model as they are here, so that a folder's own code is not needed."""
    parts = {part: value[1] for part, value in index.items() if isinstance(value, list) and value[1] in MODELS}
    own = {part: [model_class(name).__module__, name] for part, name in parts.items()}
    return {**index, **own, "_class_name": FAEPipeline.__name__}


def _local_folder(source: str) -> Path:
    """The folder that a pipeline was loaded from, or where the hub's cache keeps the card of a repository."""
    if Path(source).is_dir():
        return Path(source)
    cached = try_to_load_from_cache(source, CARD_FILE)
    return Path(cached).parent if isinstance(cached, str) else Path(source)
