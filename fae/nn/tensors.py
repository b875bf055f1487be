"""Views and statistics that the formulas of `fae.nn.functional` and the passes of `fae.nn.cpu` share."""

import torch
from torch import Tensor


def to_heads(x: Tensor, num_heads: int) -> Tensor:
    """(N, T, D) → (N, H, T, D/H), a view."""
    heads: Tensor = x.unflatten(-1, (num_heads, -1))
    return heads.transpose(1, 2)


def swap_halves(x: Tensor, num_heads: int) -> Tensor:
    """Exchange the two halves of each head's channels: (N, T, D) → (N, T, D)."""
    halves: Tensor = x.unflatten(-1, (num_heads, 2, -1))  # (N, T, D) -> (N, T, H, 2, D/2H)
    return halves.flip(-2).flatten(-3)


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """1/sqrt(mean(x²) + eps) over the last axis, summed in float32 or wider, (..., 1) in x's dtype."""
    wide = torch.promote_types(x.dtype, torch.float32)
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
    return (norm.square() / x.shape[-1] + eps).rsqrt().to(x.dtype)


def standardize(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / std over the last axis, mean and 1/std (..., 1), in x's dtype; autocast on GPUs would widen it."""
    shape, device = x.shape[-1:], x.device.type
    if not torch.amp.is_autocast_available(device):  # the meta device, on which costs are counted
        return torch.native_layer_norm(x, shape, None, None, eps)
    with torch.autocast(device, enabled=False):
        return torch.native_layer_norm(x, shape, None, None, eps)
