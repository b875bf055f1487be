"""EfficientNet-Lite0's features for FD-Lite0, on machines that reach no model hub. It is not FID."""

from typing import Self

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import nn

from fae.images import channels_first
from fae.weights import LITE0_FILE, SkipInitialization, load_efficientnet_lite0

DIM = 1280
SIZE = 224


class Lite0Features(nn.Module):
    """ImageNet features of images: EfficientNet-Lite0's 1,280 pooled channels. Frozen."""

    def __init__(self) -> None:
        super().__init__()
        with SkipInitialization():
            self.model = timm.create_model("tf_efficientnet_lite0")
        self.model.load_state_dict(load_efficientnet_lite0(LITE0_FILE.find().path, self.model.state_dict()))
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, pixels: torch.Tensor | np.ndarray) -> torch.Tensor:
        """uint8 (N, H, W, 3) -> float32 (N, 1280) on the model's device; images are resized whole to 224×224."""
        out: torch.Tensor = self.model.forward_head(self.model.forward_features(self._prepare(pixels)), pre_logits=True)
        return out

    @torch.no_grad()
    def logits(self, pixels: torch.Tensor | np.ndarray) -> torch.Tensor:
        """uint8 (N, H, W, 3) -> float32 (N, 1000), scores of the ImageNet-1k classes."""
        out: torch.Tensor = self.model(self._prepare(pixels))
        return out

    def train(self, mode: bool = True) -> Self:
        """A frozen extractor stays in eval mode: its batch norms must not follow the images."""
        return super().train(False)

    def _prepare(self, pixels: torch.Tensor | np.ndarray) -> torch.Tensor:
        # uint8 on the CPU is Pillow's arithmetic, the same on every device
        images = channels_first(torch.as_tensor(pixels)).cpu()
        if images.shape[2:] != (SIZE, SIZE):
            images = F.interpolate(images, (SIZE, SIZE), mode="bicubic", antialias=True)
        device = next(self.parameters()).device
        return images.to(device).float().div_(127.5).sub_(1)  # mean = std = 0.5
