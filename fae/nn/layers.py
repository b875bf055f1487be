"""Layers that the feature autoencoder, the pixel decoder and the generator share: norms, attention, MLPs."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fae.nn.functional import attend, rms_norm, rotated_heads, silu_gate, split_heads

# Sines and cosines of a time, or of a number of pixels.
FREQUENCIES = 256


class RMSNorm(nn.Module):
    """Root-mean-square norm over channels (Zhang and Sennrich 2019, eq. 4), in the dtype of its input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor, shift: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
        """norm(x) for x (N, T, D); with shift and scale (N, 1, D) norm(x)·(1 + scale) + shift, adaLN in one go."""
        gain = self.weight.to(x.dtype)
        return rms_norm(x, gain if scale is None else gain * (1 + scale), shift)


class SwiGLU(nn.Module):
    """w3(silu(w1·x) ∗ w2·x) (Shazeer 2020, eq. 6) with biases; w1 and w2 are one linear."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(dim, 2 * hidden_dim)
        self.w3 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) → (N, T, D)."""
        out: Tensor = self.w3(silu_gate(self.w12(x)))
        return out


def swiglu_hidden_dim(dim: int, mlp_ratio: float = 4.0, multiple_of: int = 1) -> int:
    """int(2/3 · ratio · dim), so that SwiGLU has the parameters of a plain MLP of that ratio, rounded up."""
    hidden_dim = int(2 / 3 * mlp_ratio * dim)
    return (hidden_dim + multiple_of - 1) // multiple_of * multiple_of


class Attention(nn.Module):
    """Multi-head self-attention with one biased linear for query, key and value, and optional rotary positions."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads: expected a divisor of the width {dim}; received {num_heads}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rope: Tensor | None = None) -> Tensor:
        """Tokens x (N, T, D), rope (2, T, D) or none → (N, T, D)."""
        # (N, T, D) -> (N, T, 3·D) -> 3 × (N, H, T, D/H)
        qkv, heads = self.qkv(x), self.num_heads
        q, k, v = split_heads(qkv, heads) if rope is None else rotated_heads(qkv, rope, heads)
        x = attend(q, k, v)
        # (N, H, T, D/H) -> (N, T, D)
        out: Tensor = self.proj(x.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Pre-norm transformer layer with RMSNorm, RoPE attention and SwiGLU, without conditioning."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = RMSNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = RMSNorm(dim)
        self.mlp = SwiGLU(dim, swiglu_hidden_dim(dim))

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        """Tokens x (N, T, D), rope (2, T, D) → (N, T, D)."""
        x = x + self.attn(self.norm1(x), rope)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def run_block(block: nn.Module, recompute: bool, *inputs: Any) -> Any:
    """block(*inputs); with `recompute` its activations are computed again in the backward pass (less memory)."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)


def timestep_frequencies(t: Tensor) -> Tensor:
    """Embedding (N, F) of times (N,) as in DiT and SiT: [cos(t·ω), sin(t·ω)] with ω_i = 10000^(-i/(F/2)), F = 256."""
    half = FREQUENCIES // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(-math.log(10_000.0) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def init_linears(model: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every linear, as LightningDiT and MAE begin."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
