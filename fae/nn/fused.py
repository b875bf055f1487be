"""Elementwise parts of a transformer layer with hand-written backward passes: fewer passes over memory than autograd.

Each function computes what its `plain_` twin says, in the dtype of its input (statistics in float32), and
differentiates once. Under `torch.compile` the twin runs, which the compiler fuses by itself.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def rms_norm(x: Tensor, gain: Tensor, shift: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """x / rms(x) · gain + shift over the last axis of x (N, T, D) (Zhang and Sennrich 2019, eq. 4).

    `gain` (D,) or (N, 1, D) and `shift` (N, 1, D) have x's dtype; adaLN passes weight·(1 + scale) as the gain.
    """
    if torch.compiler.is_compiling():
        return plain_rms_norm(x, gain, shift, eps)
    return _RMSNorm.apply(x, gain, shift, eps)


def plain_rms_norm(x: Tensor, gain: Tensor, shift: Tensor | None, eps: float) -> Tensor:
    """`rms_norm` as a formula."""
    unit = x * inverse_rms(x, eps)
    return unit * gain if shift is None else unit * gain + shift


def layer_norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float = 1e-6) -> Tensor:
    """(x - mean) / std · gain + shift over the last axis of x (N, T, D) (Ba et al. 2016, eq. 4).

    `gain` and `shift` (N, 1, D) have x's dtype; adaLN passes 1 + scale as the gain.
    """
    if torch.compiler.is_compiling():
        return plain_layer_norm(x, gain, shift, eps)
    return _LayerNorm.apply(x, gain, shift, eps)


def plain_layer_norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """`layer_norm` as a formula."""
    return _native_layer_norm(x, eps)[0] * gain + shift


def gated_add(x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
    """x + gate·y for x and y (N, T, D) and gate (N, 1, D), all of one dtype."""
    if torch.compiler.is_compiling():
        return x + gate * y
    return _GatedAdd.apply(x, gate, y)


def silu_gate(h: Tensor) -> Tensor:
    """silu(a)·b for h = [a, b] along the last axis: (..., 2·H) → (..., H)."""
    if torch.compiler.is_compiling():
        return plain_silu_gate(h)
    return _SiluGate.apply(h)


def plain_silu_gate(h: Tensor) -> Tensor:
    """`silu_gate` as a formula."""
    a, b = h.chunk(2, dim=-1)
    return F.silu(a) * b


def split_heads(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Packed (N, T, 3·D) → queries, keys and values, each (N, H, T, D/H)."""
    q, k, v = (to_heads(x, num_heads) for x in qkv.chunk(3, dim=-1))
    return q, k, v


def rotated_heads(qkv: Tensor, rope: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """`split_heads` with queries and keys turned by `rope` (2, T, D), see `fae.nn.layers.rope_table`."""
    rope = rope.to(qkv.dtype)
    if torch.compiler.is_compiling():
        return plain_rotated_heads(qkv, rope, num_heads)
    return _RotatedHeads.apply(qkv, rope, num_heads)


def plain_rotated_heads(qkv: Tensor, rope: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """`rotated_heads` as a formula."""
    (q, k, v), (cos, sin) = qkv.chunk(3, dim=-1), rope
    q, k = (x * cos + _swap_halves(x, num_heads) * sin for x in (q, k))
    return to_heads(q, num_heads), to_heads(k, num_heads), to_heads(v, num_heads)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor | None, eps: float) -> Tensor:
        inverse = inverse_rms(x, eps)
        ctx.save_for_backward(x, gain, inverse)
        ctx.has_shift = shift is not None
        unit = x * inverse
        return unit.mul_(gain) if shift is None else torch.addcmul(shift, unit, gain)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, gain, inverse = ctx.saved_tensors
        dx, product = rms_gradients(dy, x, inverse, gain, gain.expand(x.shape[0], 1, -1).mT)
        dgain = product.sum(dim=1, keepdim=True)
        dshift = dy.sum(dim=1, keepdim=True) if ctx.has_shift else None
        return dx, dgain if gain.ndim == 3 else dgain.sum(dim=(0, 1)), dshift, None


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        unit, mean, inverse = _native_layer_norm(x, eps)
        ctx.save_for_backward(x, gain, mean, inverse)
        return torch.addcmul(shift, unit, gain)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, gain, mean, inverse = ctx.saved_tensors
        unit = (x - mean).mul_(inverse)
        dgain, dshift = unit.mul_(dy).sum(dim=1, keepdim=True), dy.sum(dim=1, keepdim=True)
        dx = torch.ops.aten.native_layer_norm_backward(
            dy * gain, x, x.shape[-1:], mean, inverse, None, None, [True, False, False]
        )[0]
        return dx, dgain, dshift, None


class _GatedAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(gate, y)
        return torch.addcmul(x, gate, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gate, y = ctx.saved_tensors
        return dy, (dy * y).sum(dim=1, keepdim=True), dy * gate


class _SiluGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        a, b = h.chunk(2, dim=-1)
        return F.silu(a).mul_(b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        dh = torch.empty_like(h)
        (a, b), (da, db) = h.chunk(2, dim=-1), dh.chunk(2, dim=-1)
        torch.mul(dy, F.silu(a), out=db)
        torch.ops.aten.silu_backward.grad_input(dy * b, a, grad_input=da)
        return dh


class _RotatedHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rope: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(rope)
        (q, k, v), (cos, sin) = qkv.chunk(3, dim=-1), rope
        q, k = (torch.addcmul(x * cos, _swap_halves(x, num_heads), sin) for x in (q, k))
        # A copy of the values: as a view they would keep all of qkv in memory until the backward pass.
        return to_heads(q, num_heads), to_heads(k, num_heads), to_heads(v.contiguous(), num_heads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors[0]
        n, heads, tokens, head_dim = dq.shape
        dqkv = dq.new_empty(n, tokens, 3 * heads * head_dim)
        out_q, out_k, out_v = dqkv.chunk(3, dim=-1)
        # The transpose of a turn is the turn back.
        for dx, out in ((dq, out_q), (dk, out_k)):
            dx = dx.transpose(1, 2).flatten(2)  # (N, H, T, D/H) -> (N, T, D)
            torch.addcmul(dx * cos, _swap_halves(dx, heads), sin, value=-1, out=out)
        out_v.unflatten(-1, (heads, head_dim)).copy_(dv.transpose(1, 2))
        return dqkv, None, None


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """1/sqrt(mean(x²) + eps) over the last axis, summed in float32 or wider, (..., 1) in x's dtype."""
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
    return (norm.square() / x.shape[-1] + eps).rsqrt().to(x.dtype)


def rms_gradients(dy: Tensor, x: Tensor, inverse: Tensor, gain: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Of x·inverse·gain along the last axis of x (..., D): dx, and dy·u with u = x/rms, whose sum is the gain's.

    dx = (dy·gain - u·mean(dy·gain·u)) / rms; `column` is the gain as a matrix (..., D, 1) that rows are multiplied by.
    """
    unit = x * inverse
    product = dy * unit
    mean = torch.matmul(product, column) / -x.shape[-1]
    return torch.addcmul(dy * gain, unit, mean).mul_(inverse), product


def _native_layer_norm(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / std over the last axis, mean and 1/std (..., 1), in x's dtype; autocast on GPUs would widen it."""
    shape, device = x.shape[-1:], x.device.type
    if not torch.amp.is_autocast_available(device):  # the meta device, on which costs are counted
        return torch.native_layer_norm(x, shape, None, None, eps)
    with torch.autocast(device, enabled=False):
        return torch.native_layer_norm(x, shape, None, None, eps)


def _swap_halves(x: Tensor, num_heads: int) -> Tensor:
    """Exchange the two halves of each head's channels: (N, T, D) → (N, T, D)."""
    # (N, T, D) -> (N, T, H, 2, D/2H), swap, and back
    return x.unflatten(-1, (num_heads, 2, -1)).flip(-2).flatten(-3)


def to_heads(x: Tensor, num_heads: int) -> Tensor:
    """(N, T, D) → (N, H, T, D/H), a view."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)
