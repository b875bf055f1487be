"""What a recipe's models cost: parameters and arithmetic for one image, counted without memory for their weights."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fae.encoders import FrozenEncoder, build_skeleton, find_architecture, is_hook, tapped_layers, text_encoder_size
from fae.generators import Generator
from fae.optim import block_matrices
from fae.sampling import Captions, Conditions, EmptyCaption, parse_guidance
from jobs.config import (
    AutoencoderConfig,
    DecoderConfig,
    ExtractConfig,
    GeneratorConfig,
    SampleConfig,
    TextConfig,
    TrainConfig,
)
from jobs.extraction import encoder_spec, text_arrays
from jobs.loop import blocks_of
from jobs.runs import new_autoencoder
from jobs.train import new_decoder, new_model, with_model
from stores import ArraySpec

# Bytes a parameter in training: float32 weights, gradients, AdamW's two momenta and average.
WEIGHT, GRADIENT, MOMENTA, AVERAGE = 4, 4, 8, 4
# DDP's buckets of gradients, and the bf16 copies that autocast makes of weights and the backward pass holds on to.
BUCKETS, COPIES = 4, 2


@dataclass(frozen=True)
class Cost:
    """A model's parameters, and the floating-point operations of a forward pass over one image.

    `largest_block` counts the parameters of the largest part that FSDP gathers at once (`jobs.loop.parallel.shard`),
    `muon_parameters` those with one momentum instead of AdamW's two, `averages` how many there are of the weights.
    """

    parameters: int
    flops: int
    largest_block: int
    muon_parameters: int = 0
    averages: int = 1

    @property
    def state_bytes(self) -> int:
        """Weights, gradients, momenta and averages: 20 bytes a parameter with AdamW and one average."""
        per_parameter = WEIGHT + GRADIENT + MOMENTA + AVERAGE * self.averages
        return self.parameters * per_parameter - self.muon_parameters * MOMENTA // 2

    def ddp_bytes(self, gpus: int) -> int:
        """What a GPU holds while all train the whole model, without activations: 26 bytes a parameter, 22 alone."""
        buckets = BUCKETS if gpus > 1 else 0
        return self.state_bytes + self.parameters * (buckets + COPIES)

    def fsdp_bytes(self, gpus: int) -> int:
        """What a GPU holds while each trains a part of every block, without activations.

        Its part of the state; all bf16 copies, which the backward pass holds on to; and the largest block's
        weights and gradients, gathered. ZeRO's stage 3 (arXiv 1910.02054, section 5.3) with autocast.
        """
        own = -(-self.state_bytes // gpus)
        return own + self.parameters * COPIES + self.largest_block * (WEIGHT + GRADIENT)


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


def decoder_cost(shape: tuple[int, int, int], image_size: int, config: DecoderConfig) -> Cost:
    """Of the pixel decoder; the networks of its losses are not counted."""
    with torch.device("meta"):
        model = new_decoder(shape, image_size, config)
    return _trained(_cost(model, lambda: model(torch.zeros(1, *shape, device="meta"))), model, config)


def blank_caption(tokens: int, width: int, pooled_width: int) -> EmptyCaption:
    """A caption of a text encoder's shape, to count with: all of its tokens count."""
    return EmptyCaption(torch.zeros(tokens, width), torch.tensor([tokens]), torch.zeros(pooled_width))


@dataclass(frozen=True)
class TextNeeds:
    """A text store's arrays, the cost of its encoder for a caption, and a caption to count with."""

    arrays: list[ArraySpec]
    cost: Cost
    caption: EmptyCaption


def text_needs(config: TextConfig, tokens: int) -> TextNeeds:
    """Of captions of so many tokens (fewer where the settings cut them); two operations a weight and token.

    Attention's own are left out, some percent for captions, and embeddings only look up.
    """
    size, tokens = text_encoder_size(config.text_encoder), min(tokens, config.max_tokens or tokens)
    flops = 2 * (size.parameters - size.embedding_parameters) * tokens
    arrays = text_arrays(tokens, size.width, size.pooled_width, config)
    return TextNeeds(
        arrays, Cost(size.parameters, flops, size.parameters), blank_caption(tokens, size.width, size.pooled_width)
    )


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
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _like_blocks_run_once(model, counter) as total:
        forward()
        flops = total()
    count = sum(parameter.numel() for parameter in model.parameters())
    return Cost(count, flops, max(block_sizes(model)))


@contextmanager
def _like_blocks_run_once(model: nn.Module, counter: FlopCounterMode) -> Iterator[Callable[[], int]]:
    """Of blocks with parameters and inputs of the same shapes the first alone is run, the others cost as much.

    Yields:
        () -> the operations so far, of `counter` and of the blocks that were not run.
    """
    first: dict[Any, tuple[int, Any]] = {}
    spared = 0

    def total() -> int:
        return counter.get_total_flops() + spared

    def once(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            nonlocal spared
            key = (type(block), *_shapes([*block.parameters(), *args, *options.keys(), *options.values()]))
            if key in first:
                spared += first[key][0]
            else:
                before = total()
                result = forward(*args, **options)
                first[key] = (total() - before, result)
            return first[key][1]

        return run

    rows = [module for module in model.modules() if isinstance(module, nn.ModuleList | nn.Sequential)]
    blocks = {block for row in rows for block in row if len(row) > 1}
    for block in blocks:
        block.forward = once(block, block.forward)
    try:
        yield total
    finally:
        for block in blocks:
            del block.forward


def _shapes(values: Iterable[Any]) -> list[Any]:
    """A tensor's shape and type; of other values what they print as."""
    return [(tuple(one.shape), one.dtype) if isinstance(one, torch.Tensor) else repr(one) for one in values]


def block_sizes(model: nn.Module) -> list[int]:
    """Parameters of each part that `jobs.loop.parallel.shard` gathers at once: blocks, and what is in none."""
    counted: set[int] = set()
    sizes = []
    for part in [*blocks_of(model), model]:
        own = {id(weight): weight.numel() for weight in part.parameters() if id(weight) not in counted}
        counted |= own.keys()
        sizes.append(sum(own.values()))
    return sizes
