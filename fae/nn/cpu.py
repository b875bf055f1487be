"""Hand-written passes, made for CPUs: fewer passes over memory than autograd, and a faster backward pass of attention.

Each computes what the function of its name in `fae.nn.functional` says. Private operators of torch are called here
alone. The elementwise ones also run on other devices where nothing is compiled.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from fae.nn.tensors import inverse_rms, standardize, swap_halves, to_heads

PRIVATE_PROBES = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
PRIVATE_OPERATORS = ("_softmax_backward_data", "native_layer_norm_backward", "silu_backward")
# Rows whose attention weights fit are done together in the backward pass, so that the weights stay in the cache.
CACHED_BYTES = 4 * 2**20

P = ParamSpec("P")
R = TypeVar("R")


def check_operators() -> None:
    """Raise ImportError where torch lacks one of the private names; called when this module is imported."""
    missing = [name for name in PRIVATE_OPERATORS if not hasattr(torch.ops.aten, name)]
    missing += [name for name in PRIVATE_PROBES if not hasattr(torch.cpu, name)]
    if missing:
        raise ImportError(
            f"fae.nn.cpu: expected the private functions of torch 2.9; torch {torch.__version__} has no "
            f"{', '.join(missing)}; install torch 2.9, or report it"
        )


check_operators()


def has_bf16_units() -> bool:
    """Whether this processor multiplies bfloat16 in hardware: AMX or AVX512-BF16."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def eager(formula: Callable[P, R]) -> Callable[P, R]:
    """Run the pass of the formula's name instead, except under `torch.compile`; arguments are positional."""

    @wraps(formula)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return formula(*args, **kwargs)
        assert not kwargs, kwargs
        result: R = PASSES[formula.__name__].apply(*args)
        return result

    return run


class _RMSNormFunction(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor | None = None, eps: float = 1e-6) -> Tensor:
        inverse = inverse_rms(x, eps)
        ctx.save_for_backward(x, gain, inverse)
        ctx.has_shift = shift is not None
        unit = x * inverse
        return unit.mul_(gain) if shift is None else torch.addcmul(shift, unit, gain)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, gain, inverse = ctx.saved_tensors
        dx, product = _rms_gradients(dy, x, inverse, gain, gain.expand(x.shape[0], 1, -1).mT)
        dgain = product.sum(dim=1, keepdim=True)
        dshift = dy.sum(dim=1, keepdim=True) if ctx.has_shift else None
        return dx, dgain if gain.ndim == 3 else dgain.sum(dim=(0, 1)), dshift, None


class _LayerNormFunction(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float = 1e-6) -> Tensor:
        unit, mean, inverse = standardize(x, eps)
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


class _GatedAdd(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(gate, y)
        return torch.addcmul(x, gate, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gate, y = ctx.saved_tensors
        return dy, (dy * y).sum(dim=1, keepdim=True), dy * gate


class _SiluGate(Function):
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


class _RotatedHeads(Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rope: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
        rope = rope.to(qkv.dtype)
        ctx.save_for_backward(rope)
        (q, k, v), (cos, sin) = qkv.chunk(3, dim=-1), rope
        q, k = (torch.addcmul(x * cos, swap_halves(x, num_heads), sin) for x in (q, k))
        # A copy of the values: as a view they would keep all of qkv in memory until the backward pass.
        return to_heads(q, num_heads), to_heads(k, num_heads), to_heads(v.contiguous(), num_heads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors[0]
        n, heads, tokens, head_dim = dq.shape
        dqkv = dq.new_empty(n, tokens, 3 * heads * head_dim)
        out_q, out_k, out_v = dqkv.chunk(3, dim=-1)
        # The transpose of a rotation is the rotation back.
        for dx, out in ((dq, out_q), (dk, out_k)):
            dx = dx.transpose(1, 2).flatten(2)  # (N, H, T, D/H) -> (N, T, D)
            torch.addcmul(dx * cos, swap_halves(dx, heads), sin, value=-1, out=out)
        out_v.unflatten(-1, (heads, head_dim)).copy_(dv.transpose(1, 2))
        return dqkv, None, None


class _UnitHeads(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, text: Tensor, gain: Tensor, gain_text: Tensor, eps: float = 1e-6) -> Tensor:
        heads, tokens = x.shape[-1] // len(gain), x.shape[1]
        joint = x.new_empty(len(x), tokens + text.shape[1], heads, len(gain))
        saved = []
        for part, weight, out in ((x, gain, joint[:, :tokens]), (text, gain_text, joint[:, tokens:])):
            part = part.unflatten(-1, (heads, -1))  # (N, T, D) -> (N, T, H, D/H)
            inverse = inverse_rms(part, eps)
            torch.mul(part, inverse, out=out).mul_(weight)
            saved += [part, inverse, weight]
        ctx.save_for_backward(*saved)
        return joint.transpose(1, 2)  # (N, T + L, H, D/H) -> (N, H, T + L, D/H)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        x, inverse, gain, text, inverse_text, gain_text = ctx.saved_tensors
        # (N, H, T + L, D/H) -> (N, T, H, D/H) and (N, L, H, D/H), in the order of memory that x and text have
        dy_x, dy_text = dy.transpose(1, 2).contiguous().split([x.shape[1], text.shape[1]], dim=1)
        dx, product = _rms_gradients(dy_x, x, inverse, gain, gain.unsqueeze(-1))
        dtext, product_text = _rms_gradients(dy_text, text, inverse_text, gain_text, gain_text.unsqueeze(-1))
        dgain, dgain_text = (one.sum(dim=(0, 1, 2)) for one in (product, product_text))
        return dx.flatten(2), dtext.flatten(2), dgain, dgain_text, None  # (N, T, H, D/H) -> (N, T, D)


PASSES: dict[str, type[Function]] = {
    "rms_norm": _RMSNormFunction,
    "layer_norm": _LayerNormFunction,
    "gated_add": _GatedAdd,
    "silu_gate": _SiluGate,
    "rotated_heads": _RotatedHeads,
    "unit_heads": _UnitHeads,
}


def _rms_gradients(dy: Tensor, x: Tensor, inverse: Tensor, gain: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Of x·inverse·gain along the last axis of x (..., D): dx, and dy·u with u = x/rms, whose sum is the gain's.

    dx = (dy·gain - u·mean(dy·gain·u)) / rms; `column` is the gain as a matrix (..., D, 1) that rows are multiplied by.
    """
    unit = x * inverse
    product = dy * unit
    mean = torch.matmul(product, column) / -x.shape[-1]
    return torch.addcmul(dy * gain, unit, mean).mul_(inverse), product


def trains(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether `attend` below is the faster one: gradients are wanted on a CPU, and nothing is compiled."""
    on_cpu = q.device.type == "cpu" and not torch.compiler.is_compiling()
    return on_cpu and torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)


def needed_mask(mask: Tensor | None) -> Tensor | None:
    """No mask where all of it is true; only looked at on CPUs, since GPUs would have to be waited for."""
    if mask is None or mask.device.type != "cpu" or torch.compiler.is_compiling() or not mask.all():
        return mask
    return None


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, seen: Tensor | None) -> Tensor:
    """`scaled_dot_product_attention` with another backward pass; `seen` (N, 1, 1, S) bool.

    The backward pass of torch's CPU kernel works in small blocks: it takes 6 times its forward pass at 256 tokens and
    19 times at 16. Here the weights are computed again and the gradients are five batched GEMMs, in a half and an
    eighth of the time.
    """
    out: Tensor = _AttentionFunction.apply(q, k, v, causal, seen)
    return out


class _AttentionFunction(Function):
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
            _attention_gradients(q[part], k[part], v[part], dy[part], dq[part], dk[part], dv[part], own)
        return dq, dk, dv, None, None


def _bias(q: Tensor, keys: int, causal: bool, seen: Tensor | None) -> Tensor | None:
    """0 where a token may look, -inf where it may not: (1, T, S) of causal tokens, (N*H, 1, S) of a mask, or none."""
    if causal:
        return q.new_full((1, q.shape[2], keys), float("-inf")).triu(1)
    if seen is None:
        return None
    hidden = q.new_zeros(seen.shape).masked_fill_(~seen, float("-inf"))
    return hidden.expand(-1, q.shape[1], -1, -1).reshape(-1, 1, keys)  # (N, 1, 1, S) -> (N*H, 1, S)


def _attention_gradients(
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


def infers(x: Tensor) -> bool:
    """Whether `skip_attention` below may run: without gradients, autocast and compiler."""
    device = x.device.type
    cast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return not (torch.is_grad_enabled() or cast or torch.compiler.is_compiling())


def skip_attention(x: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> Tensor:
    """The formula without a pass of its own over skip: its GEMM adds to the attention's output.

    Its bias comes in with the values', since the weights of a token's attention add up to one.
    """
    width = len(weight) // 4
    packed, of_skip = weight[: 3 * width], weight[3 * width :]
    bias = torch.cat([bias[: 2 * width], bias[2 * width : 3 * width] + bias[3 * width :]])
    q, k, v = (to_heads(part, num_heads) for part in F.linear(x, packed, bias).chunk(3, dim=-1))
    hidden = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (N, H, T, D/H) -> (N, T, D)
    flat = hidden.flatten(0, 1)  # (N, T, D) -> (N·T, D)
    torch.addmm(flat, x.flatten(0, 1), of_skip.T, out=flat)
    return hidden
