"""Operations of a trained model's forward pass for one row, counted on the meta device before a training."""

import torch
from torch import nn

from fae.flops import forward_flops, on_meta
from fae.generators import Generator
from fae.sampling import Captions, Conditions


def row_flops(model: nn.Module) -> int:
    """Of the model alone: the networks of its losses (perceptual, discriminator, projector) are not counted.

    Args:
        model: A generator, an autoencoder or a pixel decoder, on any device.
    """
    blank = on_meta(model)
    if isinstance(blank, Generator):
        return _generator_flops(blank)
    return _reconstruction_flops(blank)


def _reconstruction_flops(blank: nn.Module) -> int:
    # Not at the top: a generator's training loads no autoencoder.
    from fae.models import FeatureAutoencoder, PixelDecoder, PixelVAE

    if isinstance(blank, PixelVAE):
        size = blank.config.image_size
        shape = (size, size) if isinstance(size, int) else size
        pixels = torch.zeros(1, *shape, 3, dtype=torch.uint8, device="meta")
        return forward_flops(blank, lambda: blank.decode(blank.encode(pixels).mean))
    assert isinstance(blank, FeatureAutoencoder | PixelDecoder)
    features = torch.zeros(1, *blank.config.grid, blank.config.feature_dim, device="meta")
    if isinstance(blank, PixelDecoder):
        return forward_flops(blank, lambda: blank(features))
    return forward_flops(blank, lambda: blank.decode(blank.encode(features).mean))


def _generator_flops(generator: Generator) -> int:
    latents = torch.zeros(1, *generator.grid, generator.channels, device="meta")
    conditions: Conditions = generator.classes(torch.zeros(1, dtype=torch.long, device="meta"))
    empty = generator.empty_caption
    if empty is not None:
        conditions = Captions(empty.states.unsqueeze(0), empty.length, empty.pooled.unsqueeze(0), empty)
    conditions = generator.with_blank_sizes(conditions)
    return forward_flops(generator.model, lambda: generator.evaluate(latents, conditions))
