"""An own network as the frozen encoder of a feature store:

    fae-pipe extract --data my-images/ --encoder examples/own_encoder.py:build --image-size 64 --name mine

The function returns a module that takes uint8 images (N, H, W, 3) and returns tokens (N, h, w, C). Its source and its
weights are part of the store's fingerprint: change either, and the features go to another folder. With
`--weights FILE` the function gets that text as its argument.
"""

import torch
from torch import Tensor, nn


class Patches(nn.Module):
    """Stands for a network of yours: each 8x8 patch in a fixed random basis of 64 directions."""

    def __init__(self, patch: int = 8, channels: int = 64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        basis = torch.randn(channels, 3, patch, patch, generator=generator) / (3 * patch * patch) ** 0.5
        self.projection = nn.Conv2d(3, channels, patch, stride=patch, bias=False)
        self.projection.weight.data.copy_(basis)

    def forward(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1  # uint8 (N, H, W, 3) -> (N, 3, H, W) in -1..1
        return self.projection(x).permute(0, 2, 3, 1)  # (N, C, h, w) -> (N, h, w, C)


def build(weights: str | None = None) -> nn.Module:
    model = Patches()
    if weights is not None:
        model.load_state_dict(torch.load(weights, weights_only=True))
    return model
