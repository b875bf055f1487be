"""Layers that the feature autoencoder, the pixel decoder and the generator share: norms, attention, MLPs, positions."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fae.nn.functional import attend, rms_norm, rotated_heads, silu_gate, split_heads

Grid = tuple[int, int]


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

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = RMSNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = RMSNorm(dim)
        self.mlp = SwiGLU(dim, swiglu_hidden_dim(dim, mlp_ratio))

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


def rope_table(grid: Grid, num_heads: int, head_dim: int, theta: float = 10_000.0) -> Tensor:
    """Cosines and signed sines (2, h·w, H·D) of 2-D rotary positions, repeated for each head (RoFormer, sec. 3.2.2).

    Channel i of a head turns with channel i + D/2; the first D/4 pairs turn with the row and the others with the
    column, at θ^(-4i/D) radians a token for the i-th pair of an axis. This is LightningDiT's rotation with the channels
    of a head in another order. x·cos + swap_halves(x)·sin is the turned x.
    """
    if head_dim % 4:
        raise ValueError(f"head_dim: expected a multiple of 4 for 2-D rotary positions; received {head_dim}")
    frequencies = theta ** (-4 * torch.arange(head_dim // 4, dtype=torch.float64) / head_dim)
    rows, columns = token_positions(grid)
    angles = torch.cat([torch.outer(rows, frequencies), torch.outer(columns, frequencies)], dim=1)  # (T, D/2)
    cos, sin = angles.cos(), angles.sin()
    table = torch.stack([torch.cat([cos, cos], dim=1), torch.cat([-sin, sin], dim=1)])
    return table.repeat(1, 1, num_heads).float()  # (2, T, D) -> (2, T, H·D)


def token_positions(grid: Grid) -> tuple[Tensor, Tensor]:
    """Row and column number of each of the h·w tokens in raster order, both (h·w,) float64."""
    height, width = grid
    rows = torch.arange(height, dtype=torch.float64).repeat_interleave(width)
    columns = torch.arange(width, dtype=torch.float64).repeat(height)
    return rows, columns


def sincos_table(grid: Grid, dim: int) -> Tensor:
    """Fixed 2-D sine-cosine positions (1, h·w, dim): columns in the first half of the channels, rows in the second.

    Each half is [sin(p·ω), cos(p·ω)] with ω_i = 10000^(-i/(dim/4)), as in MAE, DiT and SiT.
    """
    if dim % 4:
        raise ValueError(f"width: expected a multiple of 4 for 2-D sine-cosine positions; received {dim}")
    frequencies = 10_000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    parts = []
    for positions in reversed(token_positions(grid)):
        angles = torch.outer(positions, frequencies)
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts, dim=1).float().unsqueeze(0)


def timestep_frequencies(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Embedding (N, dim) of times (N,) as in DiT and SiT: [cos(t·ω), sin(t·ω)] with ω_i = max_period^(-i/(dim/2))."""
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(-math.log(max_period) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def init_linears(model: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every linear, as LightningDiT and MAE begin."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_grid(x: Tensor, grid: Grid, channels: int, name: str) -> None:
    """Raise ValueError unless x is (N, h, w, channels) on the model's grid."""
    expected = (*grid, channels)
    if x.ndim != 4 or tuple(x.shape[1:]) != expected:
        shown = ", ".join(map(str, expected))
        raise ValueError(
            f"{name}: expected shape (N, {shown}); received {tuple(x.shape)}; "
            "use the store that the model was trained on"
        )
