"""What a transformer layer computes, as formulas; outside of `torch.compile` the passes of `fae.nn.cpu` stand in.

The elementwise functions work in the dtype of their input (statistics in float32) and differentiate once. The compiler
sees the formulas alone and fuses them itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fae.nn import cpu
from fae.nn.tensors import inverse_rms, standardize, swap_halves, to_heads


@cpu.eager
def rms_norm(x: Tensor, gain: Tensor, shift: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """Compute x / rms(x) · gain + shift over the last axis of x (N, T, D) (Zhang and Sennrich 2019, eq. 4).

    `gain` (D,) or (N, 1, D) and `shift` (N, 1, D) have x's dtype; adaLN passes weight·(1 + scale) as the gain.
    """
    unit = x * inverse_rms(x, eps)
    return unit * gain if shift is None else unit * gain + shift


@cpu.eager
def layer_norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float = 1e-6) -> Tensor:
    """(x - mean) / std · gain + shift over the last axis of x (N, T, D) (Ba et al. 2016, eq. 4).

    `gain` and `shift` (N, 1, D) have x's dtype; adaLN passes 1 + scale as the gain.
    """
    return standardize(x, eps)[0] * gain + shift


@cpu.eager
def gated_add(x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
    """Add x + gate·y for x and y (N, T, D) and gate (N, 1, D), all of one dtype."""
    return x + gate * y


@cpu.eager
def silu_gate(h: Tensor) -> Tensor:
    """silu(a)·b for h = [a, b] along the last axis: (..., 2·H) → (..., H)."""
    a, b = h.chunk(2, dim=-1)
    return F.silu(a) * b


def split_heads(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Packed (N, T, 3·D) → queries, keys and values, each (N, H, T, D/H)."""
    q, k, v = (to_heads(x, num_heads) for x in qkv.chunk(3, dim=-1))
    return q, k, v


@cpu.eager
def rotated_heads(qkv: Tensor, rope: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """`split_heads` with queries and keys rotated by `rope` (2, T, D), see `fae.nn.position_tables.rope_table`."""
    (q, k, v), (cos, sin) = qkv.chunk(3, dim=-1), rope.to(qkv.dtype)
    q, k = (x * cos + swap_halves(x, num_heads) * sin for x in (q, k))
    return to_heads(q, num_heads), to_heads(k, num_heads), to_heads(v, num_heads)


@cpu.eager
def unit_heads(x: Tensor, text: Tensor, gain: Tensor, gain_text: Tensor, eps: float = 1e-6) -> Tensor:
    """Queries or keys of latents (N, T, D) and text (N, L, D) → (N, H, T + L, D/H), RMS-normalized in each head.

    `gain` and `gain_text` (D/H,) have the dtype of x.
    """
    parts = []
    for part, weight in ((x, gain), (text, gain_text)):
        heads = part.unflatten(-1, (-1, len(weight)))  # (N, T, D) -> (N, T, H, D/H)
        parts.append(heads * inverse_rms(heads, eps) * weight)
    return torch.cat(parts, dim=1).transpose(1, 2)  # (N, T + L, H, D/H) -> (N, H, T + L, D/H)


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ/√D)·v for (N, H, T, D) heads: `scaled_dot_product_attention`.

    Args:
        q: queries (N, H, T, D).
        k: keys (N, H, S, D), which may be of other tokens than the queries.
        v: values (N, H, S, D).
        causal: a token sees itself and earlier ones alone.
        mask: (N, S) bool, which keys count; at least one of each row.
    """
    mask = cpu.needed_mask(mask)
    seen = None if mask is None else mask[:, None, None]  # (N, S) -> (N, 1, 1, S)
    if cpu.trains(q, k, v):
        return cpu.attend(q, k, v, causal, seen)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=causal)


def skip_attention(x: Tensor, linear: nn.Linear, num_heads: int) -> Tensor:
    """Compute skip + attention(query, key, value), the four being equal parts of linear(x): (N, T, C) → (N, T, D)."""
    if cpu.infers(x):
        return cpu.skip_attention(x, linear.weight, linear.bias, num_heads)
    qkv, skip = linear(x).tensor_split([3 * linear.out_features // 4], dim=-1)
    # (N, H, T, D/H) -> (N, T, D)
    out: Tensor = skip + attend(*split_heads(qkv, num_heads)).transpose(1, 2).flatten(2)
    return out
