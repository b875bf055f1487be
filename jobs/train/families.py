"""The families of generators: a new one is a file in `fae`, an entry here, and its settings in GeneratorConfig."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin

from fae.generators import DiffusionGenerator, FlowGenerator, FlowLoss, Generator, early_block
from fae.models import LIGHTNING_DIT, MMDIT, STARFLOW
from fae.sampling import EmptyCaption, Transport
from jobs.config import GeneratorConfig
from jobs.loop import decisive


@dataclass(frozen=True)
class Family:
    """A model, its sizes, and the generator that trains it and samples from it."""

    model_classes: Mapping[str, tuple[str, str]]
    """For each kind of condition, module and name of the class, made of `in_channels`, `grid`, a preset and
    `model_settings`; of `num_classes` too where it takes classes, `context_dim` and `pooled_dim` where captions."""
    sizes: Mapping[str, Mapping[str, int]]
    generator: type[DiffusionGenerator] | type[FlowGenerator]
    """Of the model, the training, the latents' mean and deviation, and the empty caption where it takes captions."""
    training: type[Any]
    """A dataclass whose fields are settings of GeneratorConfig."""
    model_settings: tuple[str, ...] = ()
    """Settings of GeneratorConfig that the model itself takes."""

    def model(self, condition: str) -> type[ModelMixin]:
        """The class, imported when it is needed: diffusers' own brings all of its transformers, a second's work.

        Raises:
            ValueError: the family does not take such a condition.
        """
        # A generator of no condition has the model of classes, with the null class alone.
        key = "class" if condition == "none" else condition
        if key not in self.model_classes:
            families = [name for name, family in FAMILIES.items() if key in family.model_classes]
            raise ValueError(
                f"generator.condition: expected {' or '.join(self.model_classes)} with this generator.model; received "
                f"{condition}, which is taken by {', '.join(families)}"
            )
        module, name = self.model_classes[key]
        found: type[ModelMixin] = getattr(import_module(module), name)
        return found

    @property
    def settings(self) -> set[str]:
        """Names of the settings that this family alone or with others reads."""
        own = {part.name for part in fields(self.training)} | set(self.model_settings)
        return own | ALIGNED if issubclass(self.generator, DiffusionGenerator) else own


SETTINGS = ("internal_guidance_depth", "size_conditioning")
# Settings of the training that a family's generator takes beside those of `training`.
ALIGNED = frozenset({"alignment", "alignment_weight", "alignment_depth", "alignment_stop"})

FAMILIES = {
    "lightning-dit": Family(
        {
            "class": ("fae.models.lightning_dit", "LightningDiT"),
            "text": ("fae.models.text_lightning_dit", "TextLightningDiT"),
        },
        LIGHTNING_DIT,
        DiffusionGenerator,
        Transport,
        SETTINGS,
    ),
    "dit": Family({"class": ("fae.models.dit", "DiT")}, LIGHTNING_DIT, DiffusionGenerator, Transport, SETTINGS),
    "mmdit": Family({"text": ("fae.models.mmdit", "MMDiT")}, MMDIT, DiffusionGenerator, Transport, SETTINGS),
    "starflow": Family(
        {"class": ("fae.models.starflow", "StarFlow"), "text": ("fae.models.starflow", "StarFlow")},
        STARFLOW,
        FlowGenerator,
        FlowLoss,
        ("noise_std",),
    ),
}


def new_model(
    row_shape: tuple[int, ...], num_classes: int, config: GeneratorConfig, empty_caption: EmptyCaption | None = None
) -> Any:
    """A fresh model of latents (h, w, c), given classes, or captions such as the empty one."""
    height, width, channels = row_shape
    family = FAMILIES[config.model]
    sizes = family.sizes[config.size]
    config = _with_guide_head(config, sizes.get("depth", 0))
    own = {name: getattr(config, name) for name in family.model_settings}
    if empty_caption is None:
        condition_arguments = {"num_classes": num_classes}
    else:
        condition_arguments = {
            "context_dim": empty_caption.states.shape[-1],
            "pooled_dim": empty_caption.pooled.shape[-1],
        }
    model = family.model(config.condition)
    return model(in_channels=channels, grid=(height, width), **condition_arguments, **sizes, **own)


def _with_guide_head(config: GeneratorConfig, depth: int) -> GeneratorConfig:
    """The settings with the block before the head for internal guidance: 8 of 28, 4 of 12, 2 of 6, as in its paper."""
    if not config.internal_guidance_weight:
        return replace(config, internal_guidance_depth=None)
    return replace(config, internal_guidance_depth=config.internal_guidance_depth or early_block(depth))


def with_model(
    model: Any,
    config: GeneratorConfig,
    mean: torch.Tensor,
    std: torch.Tensor,
    empty_caption: EmptyCaption | None = None,
) -> Generator:
    """The generator of a model, of latents with this mean and deviation per channel (c,)."""
    family = FAMILIES[config.model]
    training = family.training(**{part.name: getattr(config, part.name) for part in fields(family.training)})
    return family.generator(model, training, mean, std, empty_caption)


def decisive_settings(config: GeneratorConfig) -> dict[str, Any]:
    """The settings that decide the weights: none that only other families read, nor what the text store says."""
    others = set().union(*(family.settings for family in FAMILIES.values())) - FAMILIES[config.model].settings
    return {name: value for name, value in decisive(config).items() if name not in others | {"condition"}}
