"""Alignment of a generator's inner tokens with the frozen encoder's features of the same image."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ALIGNMENTS = ("none", "repa", "irepa")
HIDDEN_DIM = 2048  # of REPA's projector
# Share of the image's mean feature that is taken out of iREPA's targets.
IREPA_GAMMA, IREPA_EPS = 0.6, 1e-6


@dataclass(frozen=True)
class AlignmentConfig:
    """How tokens are aligned.

    Attributes:
        kind: repa (arXiv 2410.06940: targets as they are, a perceptron for each token) or irepa (arXiv 2512.10794:
            targets normalized over the image's tokens, a 3×3 convolution).
        weight: of the loss (REPA: 0.5).
        block: number of blocks, counted from 1, behind which the tokens are taken.
    """

    kind: str
    weight: float
    block: int


class Alignment(nn.Module):
    """A projector of tokens to features, and 1 - cos of the two, averaged over tokens.

    Args:
        config: kind, weight and block.
        dim: channels of the generator's tokens.
        feature_dim: channels of the encoder's features.
        depth: blocks of the generator.

    Raises:
        ValueError: an unknown kind, or a block that the generator does not have.
    """

    def __init__(self, config: AlignmentConfig, dim: int, feature_dim: int, depth: int) -> None:
        super().__init__()
        if config.kind not in ALIGNMENTS[1:]:
            raise ValueError(f"alignment: expected one of {', '.join(ALIGNMENTS[1:])}; received {config.kind!r}")
        if not 1 <= config.block <= depth:
            raise ValueError(f"alignment_depth: expected a block from 1 to {depth}; received {config.block}")
        self.config = config
        self.active = True
        self.projector: nn.Module
        if config.kind == "irepa":
            self.projector = nn.Conv2d(dim, feature_dim, 3, padding=1)
        else:
            widths = [dim, HIDDEN_DIM, HIDDEN_DIM, feature_dim]
            linears = [nn.Linear(*pair) for pair in pairwise(widths)]
            self.projector = nn.Sequential(linears[0], nn.SiLU(), linears[1], nn.SiLU(), linears[2])

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Mean over tokens of 1 - cos(projection, target).

        Args:
            tokens: of the generator (N, h·w, D).
            features: of the same images on the same grid (N, h, w, C).

        Raises:
            ValueError: another number of tokens than features.
        """
        height, width = features.shape[1:3]
        if tokens.shape[1] != height * width:
            raise ValueError(
                f"alignment: expected features on the latents' grid of {tokens.shape[1]} tokens; received "
                f"{height}x{width}"
            )
        if self.config.kind == "irepa":
            grid = tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)  # (N, T, D) -> (N, D, h, w)
            projected = self.projector(grid).permute(0, 2, 3, 1).flatten(1, 2)  # (N, C, h, w) -> (N, T, C)
        else:
            projected = self.projector(tokens)
        target = alignment_target(features.float().flatten(1, 2), self.config.kind)
        return 1 - F.cosine_similarity(projected.float(), target, dim=-1).mean()

    def idle(self) -> Tensor:
        """0, with a gradient of 0 for every weight, so that workers that wait for all gradients go on."""
        return torch.stack([value.sum() for value in self.parameters()]).sum() * 0


def alignment_target(features: Tensor, kind: str) -> Tensor:
    """What features (N, T, C) are as targets; iREPA's are (x - 0.6·mean) / (std + 1e-6) over the image's tokens."""
    if kind != "irepa":
        return features
    mean, std = features.mean(dim=1, keepdim=True), features.std(dim=1, keepdim=True, correction=0)
    return (features - IREPA_GAMMA * mean) / (std + IREPA_EPS)


def early_block(depth: int) -> int:
    """Number of blocks before an early head: 8 of 28, 4 of 12, 2 of 6."""
    return math.ceil(depth * 2 / 7)
