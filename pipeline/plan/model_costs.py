"""What a recipe's models cost: parameters and arithmetic for one image, counted without memory for their weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from fae.encoders import FrozenEncoder, build_skeleton, find_architecture, is_hook, tapped_layers
from fae.flops import forward_flops
from fae.generators import Generator
from fae.optim import block_matrices
from fae.sampling import Captions, Conditions, EmptyCaption, parse_guidance
from jobs.config import (
    AutoencoderConfig,
    DecoderConfig,
    ExtractConfig,
    GeneratorConfig,
    SampleConfig,
    Size,
    TrainConfig,
    height_width,
)
from jobs.extraction import encoder_spec
from jobs.loop import blocks_of
from jobs.runs import new_autoencoder
from jobs.train import new_decoder, new_model, with_model
from pipeline.plan.cost import Cost


def meta_encoder(config: ExtractConfig) -> tuple[FrozenEncoder, tuple[int, int, int]]:
    """The frozen encoder up to its tapped block, without weights, and its tokens' (h, w, C)."""
    spec = encoder_spec(config)
    if is_hook(spec.name):
        raise ValueError(
            "extract.encoder: expected a preset or timm name, whose arithmetic is counted without weights; received "
            f"{config.encoder}; plan with the preset that is closest to it"
        )
    architecture = find_architecture(spec)
    skeleton = build_skeleton(spec, architecture)
    mean, std = architecture.mean_std
    encoder = FrozenEncoder(
        skeleton,
        layers=tapped_layers(spec, skeleton),
        combine=spec.combine,
        norm=spec.norm,
        mean=mean,
        std=std,
        device="meta",
    )
    return encoder, (*encoder.grid, encoder.dim)


def encoder_cost(encoder: FrozenEncoder) -> Cost:
    """Of the blocks that run, for an image of the encoder's own size (resizing is no arithmetic of the model)."""
    images = torch.zeros(1, 3, *encoder.input_size, device="meta")
    return _cost(encoder.model, lambda: encoder.tapped(images))


def autoencoder_costs(shape: tuple[int, int, int], config: AutoencoderConfig) -> dict[str, Cost]:
    """`whole`, and its `encode` and `decode` halves (with the parameters of the whole), for features (h, w, C)."""
    with torch.device("meta"):
        model = new_autoencoder(shape, config)
    features = torch.zeros(1, *shape, device="meta")
    latents = torch.zeros(1, *shape[:2], config.latent_channels, device="meta")
    encode = _trained(_cost(model, lambda: model.encode(features)), model, config)
    decode = _cost(model, lambda: model.decode(latents))
    return {"encode": encode, "decode": decode, "whole": replace(encode, flops=encode.flops + decode.flops)}


def decoder_cost(shape: tuple[int, int, int], image_size: Size, config: DecoderConfig) -> Cost:
    """Of the pixel decoder; the networks of its losses are not counted."""
    with torch.device("meta"):
        model = new_decoder(shape, height_width(image_size), config)
    return _trained(_cost(model, lambda: model(torch.zeros(1, *shape, device="meta"))), model, config)


def blank_caption(tokens: int, width: int, pooled_width: int) -> EmptyCaption:
    """A caption of a text encoder's shape, to count with: all of its tokens count."""
    return EmptyCaption(torch.zeros(tokens, width), torch.tensor([tokens]), torch.zeros(pooled_width))


def generator_cost(
    shape: tuple[int, int, int], num_classes: int, config: GeneratorConfig, caption: EmptyCaption | None = None
) -> Cost:
    """Of one evaluation of the generator's model on latents (h, w, c), given a class, or a caption such as this."""
    generator = _meta_generator(shape, num_classes, config, caption)
    x, label = torch.zeros(1, *shape, device="meta"), torch.zeros(1, dtype=torch.long, device="meta")
    conditions: Conditions = generator.classes(label)
    if caption is not None:
        one = caption.to("meta")
        conditions = Captions(one.states.unsqueeze(0), one.length, one.pooled.unsqueeze(0), one)
    conditions = generator.with_blank_sizes(conditions)
    return _trained(_cost(generator.model, lambda: generator.evaluate(x, conditions)), generator.model, config)


def num_function_evaluations(
    config: SampleConfig,
    shape: tuple[int, int, int],
    num_classes: int,
    generator: GeneratorConfig,
    caption: EmptyCaption | None = None,
) -> float:
    """Evaluations of the generator's model for one image."""
    guidance = parse_guidance(config.guidance_interval, config.guidance_scale)
    return _meta_generator(shape, num_classes, generator, caption).num_function_evaluations(
        config.steps, guidance, config.solver
    )


def _meta_generator(
    shape: tuple[int, int, int], num_classes: int, config: GeneratorConfig, caption: EmptyCaption | None
) -> Generator:
    if config.condition == "auto":  # labels are known once the images were read
        config = replace(config, condition="class" if caption is None else "text")
    with torch.device("meta"):
        model = new_model(shape, num_classes, config, caption)
    # The counter asks parameters without gradients for none.
    return with_model(model.requires_grad_(False), config, torch.zeros(shape[-1]), torch.ones(shape[-1]), caption)


def _trained(cost: Cost, model: nn.Module, config: TrainConfig) -> Cost:
    """The cost with what the training's optimizer and averages hold."""
    muon = block_matrices(model, trainable=False) if config.optimizer == "muon" else []
    count = sum(matrix.numel() for matrix in muon)
    return replace(cost, muon_parameters=count, averages=1 + len(config.ema_bank))


def _cost(model: nn.Module, forward: Callable[[], Any]) -> Cost:
    count = sum(parameter.numel() for parameter in model.parameters())
    return Cost(count, forward_flops(model, forward), max(block_sizes(model)))


def block_sizes(model: nn.Module) -> list[int]:
    """Parameters of each part that `jobs.loop.parallel.shard` gathers at once: blocks, and what is in none."""
    counted: set[int] = set()
    sizes = []
    for part in [*blocks_of(model), model]:
        own = {id(weight): weight.numel() for weight in part.parameters() if id(weight) not in counted}
        counted |= own.keys()
        sizes.append(sum(own.values()))
    return sizes
