"""Discriminators of decoded and real images: a PatchGAN, and heads on a frozen ViT's features."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from fae.encoders import FrozenEncoder

SLOPE = 0.2


class PatchGAN(nn.Sequential):
    """Convolutions that judge overlapping patches (Isola et al., arXiv 1611.07004): (N, 3, H, W) -> logits (N, L).

    Args:
        width: channels of the first layer.
        layers: strided layers; 3 judge patches of 70 pixels.

    GroupNorm stands where pix2pix has BatchNorm, so that an image's judgement depends on no other image and on no
    division of the batch over devices.
    """

    def __init__(self, width: int = 64, layers: int = 3) -> None:
        channels = [width * min(2**k, 8) for k in range(layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        for k in range(1, layers + 1):
            stride = 2 if k < layers else 1
            parts += [
                nn.Conv2d(channels[k - 1], channels[k], 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(8, channels[k]),
                nn.LeakyReLU(SLOPE),
            ]
        parts.append(nn.Conv2d(channels[-1], 1, 4, padding=1))
        super().__init__(*parts)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
        # Convolutions run 1.2 (fp32) to 1.5 (bf16) times as fast on this layout.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) in [-1, 1] → logits (N, L)."""
        x = images.contiguous(memory_format=torch.channels_last)
        for layer in self:
            x = layer(x)
        return x.flatten(1)  # (N, 1, h, w) -> (N, h·w)


class ViTDiscriminator(nn.Module):
    """Small heads on tokens of several blocks of a frozen ViT (projected GANs; StyleGAN-T, arXiv 2301.09515).

    Images (N, 3, H, W) in [-1, 1] -> logits (N, L), one a token and block. They are resized to the encoder's input
    and normalized as it expects; gradients reach the images through it, never its weights.

    Args:
        encoder: whose blocks up to its tapped one are used; RAE took DINO-S/8.
        width: channels of a head.
        taps: blocks that are read, evenly spaced.

    Raises:
        ValueError: fewer blocks than taps.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, encoder: FrozenEncoder, width: int = 128, taps: int = 4) -> None:
        super().__init__()
        depth = len(encoder.model.blocks)
        if not 1 <= taps <= depth:
            raise ValueError(f"taps: expected 1 to {depth}, the encoder's blocks; received {taps}")
        self.encoder, self.dim, self.grid = encoder, encoder.dim, encoder.grid
        self.blocks = [(k + 1) * depth // taps - 1 for k in range(taps)]
        self.heads = nn.ModuleList(_head(encoder.dim, width) for _ in self.blocks)
        self.register_buffer("mean", torch.tensor(encoder.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(encoder.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) in [-1, 1] → logits (N, L)."""
        tokens = self.encoder.model.forward_intermediates(
            self._preprocess(images),
            indices=self.blocks,
            norm=False,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        logits = [head(self._grid(x)).flatten(1) for head, x in zip(self.heads, tokens, strict=True)]
        return torch.cat(logits, dim=1)  # K × (N, h·w) -> (N, K·h·w)

    def _preprocess(self, images: torch.Tensor) -> torch.Tensor:
        size = self.encoder.input_size
        if images.shape[2:] != size:
            images = F.interpolate(images, size, mode="bicubic", antialias=True)
        return ((images + 1) / 2 - self.mean) / self.std

    def _grid(self, tokens: torch.Tensor) -> torch.Tensor:
        # Blocks differ in scale by orders of magnitude, so each token is normalized first.
        tokens = F.layer_norm(tokens, (self.dim,))
        out: torch.Tensor = tokens.transpose(1, 2).unflatten(2, self.grid)  # (N, h·w, C) -> (N, C, h·w) -> (N, C, h, w)
        return out


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = spectral_norm(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + F.leaky_relu(self.conv(x), SLOPE)) / 2**0.5


def _head(dim: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(dim, width, 1)),
        nn.LeakyReLU(SLOPE),
        _Residual(width),
        spectral_norm(nn.Conv2d(width, 1, 1)),
    )
