"""A block of an autoregressive flow: a causal transformer predicts shift and scale of each token.

z_t = (x_t - μ_t) / σ_t with μ and σ functions of x_0 … x_{t-1} (TARFlow, arXiv 2412.06329, eq. 4): all at once from x
to z, token by token back.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fae.nn import AnyGrid, CausalBlock, Grid, KVCache, RMSNorm, prefixed_rope, rope_for, rope_table, run_block
from fae.sampling import guided_gaussian

# softplus of this is 1: a fresh block has deviation 1.
INVERSE_SOFTPLUS_ONE = 0.5413248546129181


class Guide(NamedTuple):
    """What a block is guided by: the beginning of the sequence without a condition, and each token's scale."""

    prefix: Tensor
    scales: Sequence[float]


class FlowBlock(nn.Module, AnyGrid):
    """Tokens x (N, T, c) ↔ z (N, T, c), triangular in raster order or, `backwards`, from the last token to the first.

    The transformer's sequence is a prefix (N, P, D), whose last token predicts the first one, and x_0 … x_{T-2}. A
    position has the rotary angles of the token that it predicts; the prefix before its last token is not rotated.
    """

    rope: Tensor

    def __init__(
        self,
        channels: int,
        grid: Grid,
        hidden_size: int,
        depth: int,
        num_heads: int,
        *,
        mlp_ratio: float,
        soft_clip: float,
        backwards: bool,
    ) -> None:
        super().__init__()
        self.grid, self.num_heads = grid, num_heads
        self.soft_clip, self.backwards = soft_clip, backwards
        self.x_embedder = nn.Linear(channels, hidden_size)
        self.blocks = nn.ModuleList(CausalBlock(hidden_size, num_heads, mlp_ratio) for _ in range(depth))
        self.norm_final = RMSNorm(hidden_size)
        self.linear = nn.Linear(hidden_size, 2 * channels)
        rope = rope_table(grid, num_heads, hidden_size // num_heads)
        self.register_buffer("rope", self._ordered(rope), persistent=False)
        self.gradient_checkpointing = False

    def forward(
        self,
        x: Tensor,
        prefix: Tensor,
        inverting: bool = False,
        guide: Guide | None = None,
        grid: Grid | None = None,
    ) -> Any:
        """Latents x (N, T, c) → z (N, T, c) in the order of x, and log σ (N, T, c) in the block's order; float32.

        `inverting` does what `inverse` says; `grid` is that of the tokens, the trained one when absent.
        """
        rope = prefixed_rope(self._rope(grid or self.grid), prefix.shape[1] - 1)
        if inverting:
            return self._inverse(x, prefix, guide, rope)
        x = self._ordered(x)
        h = self.x_embedder(x[:, :-1].to(self.x_embedder.weight.dtype))  # (N, T-1, c) -> (N, T-1, D)
        h = torch.cat([prefix.to(h.dtype), h], dim=1)  # (N, P+T-1, D)
        turns = rope.to(h.dtype)
        for block in self.blocks:
            h = run_block(block, self.gradient_checkpointing, h, turns)
        mean, sigma = self._gaussian(h[:, prefix.shape[1] - 1 :])
        return self._ordered((x - mean) / sigma), sigma.log()

    def inverse(self, z: Tensor, prefix: Tensor, guide: Guide | None = None, grid: Grid | None = None) -> Tensor:
        """Noise z (N, T, c) → x (N, T, c), guided in each token by the guide's scale for it."""
        # By __call__: hooks of a module that lives elsewhere (offloading) bring its weights for its forward alone.
        x: Tensor = self(z, prefix, inverting=True, guide=guide, grid=grid)
        return x

    def _inverse(self, z: Tensor, prefix: Tensor, guide: Guide | None, rope: Tensor) -> Tensor:
        z = self._ordered(z)
        x = torch.empty_like(z)
        rows, tokens, copies = len(z), z.shape[1], 1 if guide is None else 2
        h = prefix if guide is None else torch.cat([prefix, guide.prefix])  # (copies·N, P, D)
        caches = [KVCache(prefix.shape[1] + tokens - 1) for _ in self.blocks]
        h, done = h.to(self.x_embedder.weight.dtype), 0
        for token in range(tokens):
            turns = rope[:, done : done + h.shape[1]].to(h.dtype)
            done += h.shape[1]
            for block, cache in zip(self.blocks, caches, strict=True):
                h = block(h, turns, cache)
            mean, sigma = self._gaussian(h[:, -1])
            if guide is not None:
                # (2·N, c) -> 2 × (N, c)
                (mean, null_mean), (sigma, null_sigma) = mean.split(rows), sigma.split(rows)
                mean, sigma = guided_gaussian(mean, sigma, null_mean, null_sigma, guide.scales[token])
            x[:, token] = mean + sigma * z[:, token]
            h = self.x_embedder(x[:, token : token + 1].repeat(copies, 1, 1).to(self.x_embedder.weight.dtype))
        return self._ordered(x)

    def _gaussian(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (..., c), float32, that the hidden states (..., D) predict."""
        mean, raw = self.linear(self.norm_final(h)).float().chunk(2, dim=-1)
        clipped = self.soft_clip * torch.tanh(raw / self.soft_clip)
        return mean, F.softplus(clipped + INVERSE_SOFTPLUS_ONE)

    def _rope(self, grid: Grid) -> Tensor:
        """The rotary table of a grid in the block's order."""
        if grid == self.grid:
            return self.rope
        return self._ordered(rope_for(self.rope, self.grid, grid, self.num_heads, self.position_scaling))

    def _ordered(self, x: Tensor) -> Tensor:
        """(N, T, ·) in the block's order; the same again gives it back."""
        return x.flip(1) if self.backwards else x
