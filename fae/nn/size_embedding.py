"""Numbers of pixels (size and crop of an image) as a vector that is added to the embedding of time."""

import torch.nn.functional as F
from torch import Tensor, nn

from fae.nn.layers import FREQUENCIES, timestep_frequencies

NUMBERS = 6


class SizeEmbedder(nn.Module):
    """Six numbers (N, 6) in pixels → (N, D): sinusoids of each (SDXL, arXiv 2307.01952, 2.2), and a two-layer MLP.

    It adds nothing at first.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(NUMBERS * FREQUENCIES, dim)
        self.linear2 = nn.Linear(dim, dim)
        nn.init.normal_(self.linear1.weight, std=0.02)
        for values in (self.linear1.bias, self.linear2.weight, self.linear2.bias):
            nn.init.zeros_(values)

    def forward(self, sizes: Tensor | None) -> Tensor:
        """Numbers (N, 6) → (N, D).

        Raises:
            ValueError: none are given, or of another shape.
        """
        if sizes is None or sizes.shape[-1] != NUMBERS:
            received = None if sizes is None else tuple(sizes.shape)
            raise ValueError(
                f"sizes: expected {NUMBERS} numbers of each image, since the model is conditioned on size and "
                f"crop; received {received}"
            )
        weight = self.linear1.weight
        # (N, 6) -> (6·N,) -> (6·N, F) -> (N, 6·F)
        waves = timestep_frequencies(sizes.flatten()).unflatten(0, sizes.shape).flatten(1)
        out: Tensor = self.linear2(F.silu(self.linear1(waves.to(weight.dtype))))
        return out


def size_embedder(size_conditioning: bool, dim: int) -> SizeEmbedder | None:
    """The embedder of a model that is conditioned on size and crop."""
    return SizeEmbedder(dim) if size_conditioning else None
