"""What a recipe's models cost: parameters and arithmetic for one picture, counted without memory for their weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fae.encoders import FrozenEncoder, build_skeleton, find_architecture, tapped_layer
from fae.generators import Generator
from fae.guidance import parse_guidance
from jobs.config import AutoencoderConfig, DecoderConfig, ExtractConfig, GeneratorConfig, SampleConfig
from jobs.extract import encoder_spec
from jobs.families import new_model, with_model
from jobs.train_ae import new_autoencoder
from jobs.train_decoder import new_decoder

# A training step costs the forward pass and twice as much for the backward one (Kaplan et al., arXiv 2001.08361).
TRAINING_PASSES = 3
# float32: weights 4, gradients 4, AdamW's two momenta 8, average 4.
TRAINING_BYTES_PER_PARAMETER = 20


@dataclass(frozen=True)
class Cost:
    """A model's parameters, and the floating-point operations of a forward pass over one picture."""

    parameters: int
    flops: int


def meta_encoder(config: ExtractConfig) -> tuple[FrozenEncoder, tuple[int, int, int]]:
    """The frozen encoder up to its tapped block, without weights, and its tokens' (h, w, C)."""
    spec = encoder_spec(config)
    architecture = find_architecture(spec)
    skeleton = build_skeleton(spec, architecture)
    mean, std = architecture.mean_std
    layer = tapped_layer(spec, skeleton)
    encoder = FrozenEncoder(skeleton, layer=layer, norm=spec.norm, mean=mean, std=std, device="meta")
    return encoder, (*encoder.grid, encoder.dim)


def encoder_cost(encoder: FrozenEncoder) -> Cost:
    """Of the blocks that run, for a picture of the encoder's own size (resizing is no arithmetic of the model)."""
    images = torch.zeros(1, 3, *encoder.input_size, device="meta")
    return _cost(encoder.model, lambda: encoder.tapped(images))


def autoencoder_costs(shape: tuple[int, int, int], config: AutoencoderConfig) -> dict[str, Cost]:
    """`whole`, and its `encode` and `decode` halves (with the parameters of the whole), for features (h, w, C)."""
    with torch.device("meta"):
        model = new_autoencoder(shape, config)
    features = torch.zeros(1, *shape, device="meta")
    latents = torch.zeros(1, *shape[:2], config.latent_channels, device="meta")
    encode = _cost(model, lambda: model.encode(features))
    decode = _cost(model, lambda: model.decode(latents))
    return {"encode": encode, "decode": decode, "whole": Cost(encode.parameters, encode.flops + decode.flops)}


def decoder_cost(shape: tuple[int, int, int], picture_size: int, config: DecoderConfig) -> Cost:
    """Of the pixel decoder; the networks of its losses are not counted."""
    with torch.device("meta"):
        model = new_decoder(shape, picture_size, config)
    return _cost(model, lambda: model(torch.zeros(1, *shape, device="meta")))


def generator_cost(shape: tuple[int, int, int], num_classes: int, config: GeneratorConfig) -> Cost:
    """Of one evaluation of the generator's model on latents (h, w, c)."""
    generator = _meta_generator(shape, num_classes, config)
    x, y = torch.zeros(1, *shape, device="meta"), torch.zeros(1, dtype=torch.long, device="meta")
    return _cost(generator.model, lambda: generator.evaluate(x, generator.classes(y)))


def evaluations(
    config: SampleConfig, shape: tuple[int, int, int], num_classes: int, generator: GeneratorConfig
) -> float:
    """Evaluations of the generator's model for one picture."""
    guidance = parse_guidance(config.guidance_interval, config.guidance_scale)
    return _meta_generator(shape, num_classes, generator).evaluations(config.steps, guidance, config.solver)


def _meta_generator(shape: tuple[int, int, int], num_classes: int, config: GeneratorConfig) -> Generator:
    with torch.device("meta"):
        model = new_model(shape, num_classes, config)
    # The counter asks parameters without gradients for none.
    return with_model(model.requires_grad_(False), config, torch.zeros(shape[-1]), torch.ones(shape[-1]))


def _cost(model: nn.Module, forward: Callable[[], Any]) -> Cost:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward()
    return Cost(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops())
