"""A perceptual loss on the logits of a frozen ConvNeXt classifier, where its weights are at hand."""

from pathlib import Path
from typing import Self

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn
from torch.nn import functional as F

from fae.weights import SkipInitialization, WeightsError, hub_file, read_state_dict, weights_file

CONVNEXT_S = "convnext_small.fb_in1k"


class ConvNeXtLogits(nn.Module):
    """Mean squared difference of two images' class logits (TiTok, arXiv 2406.07550; ml-starflow).

    Images (N, 3, H, W) in [-1, 1] twice -> distances (N,), float32; 0 for equal images. They are resized to
    `input_size` (bilinear with antialias, as TiTok does). Frozen; gradients reach the images.

    Args:
        weights: a local file; None = timm's hub file.
        name: timm name of a classifier; the paper does not say which perceptual loss it has.
        input_size: pixels on a side that the classifier sees.

    Raises:
        WeightsError: no such file, weights of another model, or a hub that cannot be reached.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, weights: str | Path | None = None, name: str = CONVNEXT_S, input_size: int = 224) -> None:
        super().__init__()
        cfg = get_pretrained_cfg(name)
        if cfg is None:
            raise ValueError(f"name: expected a timm classifier such as {CONVNEXT_S}; received {name!r}")
        path = hub_file(cfg.to_dict()) if weights is None else weights_file(weights).path
        self.input_size = input_size
        self.model = _load(name, path)
        self.register_buffer("mean", torch.tensor(cfg.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(cfg.std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Distances (N,), float32."""
        both = F.interpolate(torch.cat([images, targets]), self.input_size, mode="bilinear", antialias=True)
        # One pass for both: (2·N, 3, s, s) -> (2·N, K) -> 2 × (N, K)
        ours, theirs = self.model(((both + 1) / 2 - self.mean) / self.std).float().chunk(2)
        out: torch.Tensor = (ours - theirs).square().mean(dim=1)
        return out

    def train(self, mode: bool = True) -> Self:
        """A frozen measure stays in eval mode, whatever holds it."""
        return super().train(False)


def _load(name: str, path: Path) -> nn.Module:
    overlay = {"state_dict": read_state_dict(path)}
    try:
        with SkipInitialization():
            model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: expected the weights of {name}; received others: {reason}") from error
    model.pretrained_cfg.pop("state_dict")  # timm keeps it: a second copy of all weights
    network: nn.Module = model
    return network
