"""Softmax attention by torch's kernel, with a backward pass of batched GEMMs on CPUs."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Rows whose attention weights fit are done together in the backward pass, so that the weights stay in the cache.
CACHED_BYTES = 4 * 2**20


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """softmax(q·kᵀ/√D)·v for (N, H, T, D) heads: `scaled_dot_product_attention`; `causal` tokens see no later ones.

    The backward pass of torch's CPU kernel works in small blocks: it takes 6 times its forward pass at 256 tokens and
    19 times at 16. There the weights are computed again and the gradients are five batched GEMMs, in a half and an
    eighth of the time; on other devices and under `torch.compile` torch's own backward pass runs.
    """
    trains = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    if not trains or q.device.type != "cpu" or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return _CPUAttention.apply(q, k, v, causal)


class _CPUAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.causal = causal
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v = ctx.saved_tensors
        rows, heads, tokens, _ = q.shape
        # (1, T, T): 0 where a token may look, -inf where it may not
        bias = q.new_full((1, tokens, tokens), float("-inf")).triu(1) if ctx.causal else None
        dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype) for x in (q, k, v))
        together = max(1, CACHED_BYTES // (heads * tokens * tokens * q.element_size()))
        for start in range(0, rows, together):
            part = slice(start, start + together)
            _gradients(q[part], k[part], v[part], dy[part], dq[part], dk[part], dv[part], bias)
        return dq, dk, dv, None


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
