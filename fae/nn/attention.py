"""Softmax attention by torch's kernel, with a backward pass of batched GEMMs on CPUs."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Rows whose attention weights fit are done together in the backward pass, so that the weights stay in the cache.
CACHED_BYTES = 4 * 2**20


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ/√D)·v for (N, H, T, D) heads: `scaled_dot_product_attention`; `causal` tokens see no later ones.

    Keys and values (N, H, S, D) may be of other tokens than the queries; `mask` (N, S) bool says which of them count,
    at least one of each row.

    The backward pass of torch's CPU kernel works in small blocks: it takes 6 times its forward pass at 256 tokens and
    19 times at 16. There the weights are computed again and the gradients are five batched GEMMs, in a half and an
    eighth of the time; on other devices and under `torch.compile` torch's own backward pass runs.
    """
    on_cpu = q.device.type == "cpu" and not torch.compiler.is_compiling()
    if on_cpu and mask is not None and mask.all():
        mask = None  # a look that costs CPUs nothing, and GPUs a wait
    trains = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    seen = None if mask is None else mask[:, None, None]  # (N, S) -> (N, 1, 1, S)
    if not (trains and on_cpu):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=causal)
    return _CPUAttention.apply(q, k, v, causal, seen)


class _CPUAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool, seen: Tensor | None) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.causal, ctx.seen = causal, seen
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=causal)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v = ctx.saved_tensors
        rows, heads, tokens, _ = q.shape
        keys = k.shape[2]
        dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype) for x in (q, k, v))
        together = max(1, CACHED_BYTES // (heads * tokens * keys * q.element_size()))
        bias = _bias(q, keys, ctx.causal, ctx.seen)
        for start in range(0, rows, together):
            part = slice(start, start + together)
            own = bias if ctx.seen is None or bias is None else bias[start * heads : (start + together) * heads]
            _gradients(q[part], k[part], v[part], dy[part], dq[part], dk[part], dv[part], own)
        return dq, dk, dv, None, None


def _bias(q: Tensor, keys: int, causal: bool, seen: Tensor | None) -> Tensor | None:
    """0 where a token may look, -inf where it may not: (1, T, S) of causal tokens, (N*H, 1, S) of a mask, or none."""
    if causal:
        return q.new_full((1, q.shape[2], keys), float("-inf")).triu(1)
    if seen is None:
        return None
    hidden = q.new_zeros(seen.shape).masked_fill_(~seen, float("-inf"))
    return hidden.expand(-1, q.shape[1], -1, -1).reshape(-1, 1, keys)  # (N, 1, 1, S) -> (N*H, 1, S)


def _gradients(
    q: Tensor, k: Tensor, v: Tensor, dy: Tensor, dq: Tensor, dk: Tensor, dv: Tensor, bias: Tensor | None
) -> None:
    """Fill dq, dk and dv: with p = softmax(s) and s = q·kᵀ/√D, dv = pᵀ·dy and ds = p ∗ (dp - Σ dp ∗ p), dp = dy·vᵀ."""
    scale = q.shape[-1] ** -0.5
    # (N, H, T, D) -> (N*H, T, D)
    q, k, v, dy, dq, dk, dv = (x.reshape(-1, *x.shape[2:]) for x in (q * scale, k, v, dy, dq, dk, dv))
    scores = torch.bmm(q, k.mT) if bias is None else torch.baddbmm(bias, q, k.mT)
    weights = scores.softmax(dim=-1)
    dscores = torch.ops.aten._softmax_backward_data(torch.bmm(dy, v.mT), weights, -1, weights.dtype)
    torch.bmm(weights.mT, dy, out=dv)
    torch.bmm(dscores, k, out=dq).mul_(scale)
    torch.bmm(dscores.mT, q, out=dk)
