"""Causal transformer layers that train on whole sequences and sample token by token from cached keys and values."""

import torch
from torch import Tensor, nn

from fae.nn.functional import attend, rotated_heads
from fae.nn.layers import Attention, RMSNorm, SwiGLU, swiglu_hidden_dim

# Widths of the MLP are multiples of this, so that no GEMM ends in the middle of a tile.
MLP_MULTIPLE = 32


class KVCache:
    """Keys and values of one layer for up to `length` tokens; allocated once, in the dtype of the first ones."""

    keys: Tensor
    values: Tensor

    def __init__(self, length: int) -> None:
        self.length, self.filled = length, 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the next t tokens' k and v (N, H, t, D/H); returns those of all tokens so far, as views."""
        if self.filled == 0:
            rows, heads, _, head_dim = k.shape
            self.keys, self.values = (k.new_empty(rows, heads, self.length, head_dim) for _ in range(2))
        start, self.filled = self.filled, self.filled + k.shape[2]
        self.keys[:, :, start : self.filled] = k
        self.values[:, :, start : self.filled] = v
        return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]


class CausalAttention(Attention):
    """Self-attention in which a token sees itself and earlier ones alone."""

    def forward(self, x: Tensor, rope: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Tokens x (N, T, D), rope (2, T, D) → (N, T, D).

        With a cache x are the tokens after those it holds: all of a beginning at once, later ones one by one.
        """
        assert rope is not None
        # (N, T, D) -> (N, T, 3·D) -> 3 × (N, H, T, D/H)
        q, k, v = rotated_heads(self.qkv(x), rope, self.num_heads)
        several = q.shape[2] > 1
        if cache is not None:
            assert not (several and cache.filled), "tokens after the beginning come one by one"
            k, v = cache.append(k, v)
        # (N, H, T, D/H) -> (N, T, D)
        out: Tensor = self.proj(attend(q, k, v, causal=several).transpose(1, 2).flatten(2))
        return out


class CausalBlock(nn.Module):
    """Pre-norm transformer layer with RMSNorm, causal RoPE attention and SwiGLU."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = RMSNorm(dim)
        self.attn = CausalAttention(dim, num_heads)
        self.norm2 = RMSNorm(dim)
        self.mlp = SwiGLU(dim, swiglu_hidden_dim(dim, mlp_ratio, MLP_MULTIPLE))

    def forward(self, x: Tensor, rope: Tensor, cache: KVCache | None = None) -> Tensor:
        """Tokens x (N, T, D), rope (2, T, D) → (N, T, D); the cache as in `CausalAttention`."""
        x = x + self.attn(self.norm1(x), rope, cache)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def prefixed_rope(rope: Tensor, prefix: int) -> Tensor:
    """A rotary table (2, T, D) preceded by `prefix` tokens that are not turned: (2, prefix + T, D)."""
    still = torch.zeros_like(rope[:, :1]).expand(-1, prefix, -1).clone()
    still[0] = 1.0
    return torch.cat([still, rope], dim=1)
