"""The families of generators: a new one is a file in `fae`, an entry here, and its settings in GeneratorConfig."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin

from fae.flow_generator import FlowGenerator, FlowLoss
from fae.generators import DiffusionGenerator, Generator
from fae.presets import LIGHTNING_DIT, STARFLOW
from fae.transport import Transport
from jobs.config import GeneratorConfig
from jobs.training_inputs import decisive


@dataclass(frozen=True)
class Family:
    """A model, its sizes, and the generator that trains it and samples from it."""

    model_class: tuple[str, str]
    """Module and name of the class, made of `in_channels`, `grid`, `num_classes`, a preset, and `model_settings`."""
    sizes: Mapping[str, Mapping[str, int]]
    generator: Callable[[Any, Any, torch.Tensor, torch.Tensor], Generator]
    """Of the model, the training and the latents' mean and deviation."""
    training: type[Any]
    """A dataclass whose fields are settings of GeneratorConfig."""
    model_settings: tuple[str, ...] = ()
    """Settings of GeneratorConfig that the model itself takes."""

    @property
    def model(self) -> type[ModelMixin]:
        """The class, imported when it is needed: diffusers' own brings all of its transformers, a second's work."""
        module, name = self.model_class
        found: type[ModelMixin] = getattr(import_module(module), name)
        return found

    @property
    def settings(self) -> set[str]:
        """Names of the settings that this family alone or with others reads."""
        return {part.name for part in fields(self.training)} | set(self.model_settings)


FAMILIES = {
    "lightning-dit": Family(("fae.lightning_dit", "LightningDiT"), LIGHTNING_DIT, DiffusionGenerator, Transport),
    "dit": Family(("fae.dit", "DiT"), LIGHTNING_DIT, DiffusionGenerator, Transport),
    "starflow": Family(("fae.starflow", "StarFlow"), STARFLOW, FlowGenerator, FlowLoss, ("noise_std",)),
}


def new_model(row_shape: tuple[int, ...], num_classes: int, config: GeneratorConfig) -> Any:
    """A fresh model of latents (h, w, c)."""
    height, width, channels = row_shape
    family = FAMILIES[config.model]
    own = {name: getattr(config, name) for name in family.model_settings}
    sizes = family.sizes[config.size]
    return family.model(in_channels=channels, grid=(height, width), num_classes=num_classes, **sizes, **own)


def with_model(model: Any, config: GeneratorConfig, mean: torch.Tensor, std: torch.Tensor) -> Generator:
    """The generator of a model, of latents with this mean and deviation per channel (c,)."""
    family = FAMILIES[config.model]
    training = family.training(**{part.name: getattr(config, part.name) for part in fields(family.training)})
    return family.generator(model, training, mean, std)


def decisive_settings(config: GeneratorConfig) -> dict[str, Any]:
    """The settings that decide the weights: none that only other families read."""
    others = set().union(*(family.settings for family in FAMILIES.values())) - FAMILIES[config.model].settings
    return {name: value for name, value in decisive(config).items() if name not in others}
