"""A layer of MMDiT with diffusers' weights, a mask over the text, and fused elementwise parts."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention import JointTransformerBlock
from torch import Tensor
from torch.autograd.function import once_differentiable

from fae.nn.attention import attend
from fae.nn.fused import gated_add, inverse_rms, layer_norm, rms_gradients, to_heads


class JointBlock(JointTransformerBlock):
    """Latents and text, each by weights of its own, in one attention (MMDiT, arXiv 2403.03206, fig. 2b).

    `hidden_states` (N, T, D) are the latents, `encoder_hidden_states` (N, L, D) the text, `temb` (N, D) the condition;
    "attention_mask" (N, T + L) bool says whom all may see. Returns text and latents, as diffusers' model expects; the
    last layer returns no text.
    """

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        joint_attention_kwargs: dict[str, Any] | None = None,
    ) -> tuple[Tensor | None, Tensor]:
        x, text, c = hidden_states, encoder_hidden_states, F.silu(temb)
        shift, scale, *own = _modulation(self.norm1, c, 6, x.dtype)
        if self.context_pre_only:
            scale_text, shift_text = _modulation(self.norm1_context, c, 2, text.dtype)
        else:
            shift_text, scale_text, *others = _modulation(self.norm1_context, c, 6, text.dtype)
        seen, seen_text = joint_attention(
            self.attn,
            layer_norm(x, 1 + scale, shift),
            layer_norm(text, 1 + scale_text, shift_text),
            (joint_attention_kwargs or {}).get("attention_mask"),
        )
        x = _after_attention(x, seen, own, self.ff)
        return None if self.context_pre_only else _after_attention(text, seen_text, others, self.ff_context), x


def _modulation(norm: Any, c: Tensor, parts: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """(N, D) → (N, parts·D) → parts × (N, 1, D): AdaLayerNormZero's and AdaLayerNormContinuous' linear."""
    return norm.linear(c).to(dtype).unsqueeze(1).chunk(parts, dim=-1)


def _after_attention(x: Tensor, seen: Tensor, modulation: list[Tensor], mlp: Any) -> Tensor:
    """What comes after attention, for latents or text: its gate, and the gated MLP of the modulated norm."""
    gate_attn, shift_mlp, scale_mlp, gate_mlp = modulation
    x = gated_add(x, gate_attn, seen)
    return gated_add(x, gate_mlp, mlp(layer_norm(x, 1 + scale_mlp, shift_mlp)))


def joint_attention(attn: Any, x: Tensor, text: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Latents (N, T, D), text (N, L, D), mask (N, T + L) → both after attention; text's is not used in the last layer.

    diffusers' processor takes no mask, so that padding would count; this one has `attend`'s faster backward pass too.
    """
    q = unit_heads(attn.to_q(x), attn.add_q_proj(text), attn.norm_q, attn.norm_added_q)
    k = unit_heads(attn.to_k(x), attn.add_k_proj(text), attn.norm_k, attn.norm_added_k)
    v = to_heads(torch.cat([attn.to_v(x), attn.add_v_proj(text)], dim=1), attn.heads)
    seen = attend(q, k, v, mask=mask).transpose(1, 2).flatten(2)  # (N, H, T + L, D/H) -> (N, T + L, D)
    x, text = seen.split([x.shape[1], text.shape[1]], dim=1)
    return attn.to_out[0](x), text if attn.context_pre_only else attn.to_add_out(text)


def unit_heads(x: Tensor, text: Tensor, norm: Any, norm_text: Any) -> Tensor:
    """Queries or keys of latents (N, T, D) and text (N, L, D) → (N, H, T + L, D/H), normalized in each head.

    `norm` and `norm_text` are diffusers' RMSNorm of a head's channels, applied in the dtype of x.
    """
    gains = norm.weight.to(x.dtype), norm_text.weight.to(x.dtype)
    if torch.compiler.is_compiling():
        return plain_unit_heads(x, text, *gains, norm.eps)
    return _UnitHeads.apply(x, text, *gains, norm.eps)


def plain_unit_heads(x: Tensor, text: Tensor, gain: Tensor, gain_text: Tensor, eps: float) -> Tensor:
    """`unit_heads` as a formula; the gains are (D/H,)."""
    parts = []
    for part, weight in ((x, gain), (text, gain_text)):
        heads = part.unflatten(-1, (-1, len(weight)))  # (N, T, D) -> (N, T, H, D/H)
        parts.append(heads * inverse_rms(heads, eps) * weight)
    return torch.cat(parts, dim=1).transpose(1, 2)  # (N, T + L, H, D/H) -> (N, H, T + L, D/H)


class _UnitHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, text: Tensor, gain: Tensor, gain_text: Tensor, eps: float) -> Tensor:
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
        own, others = dy.transpose(1, 2).contiguous().split([x.shape[1], text.shape[1]], dim=1)
        dx, product = rms_gradients(own, x, inverse, gain, gain.unsqueeze(-1))
        dtext, product_text = rms_gradients(others, text, inverse_text, gain_text, gain_text.unsqueeze(-1))
        dgain, dgain_text = (one.sum(dim=(0, 1, 2)) for one in (product, product_text))
        return dx.flatten(2), dtext.flatten(2), dgain, dgain_text, None  # (N, T, H, D/H) -> (N, T, D)
