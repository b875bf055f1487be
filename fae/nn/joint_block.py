"""A layer of MMDiT with diffusers' weights, and a mask over the text."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention import JointTransformerBlock
from torch import Tensor

from fae.nn.functional import attend, gated_add, layer_norm, unit_heads
from fae.nn.tensors import to_heads


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
        """Text (N, L, D), or None in the last layer, and latents (N, T, D)."""
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
    out: tuple[Tensor, ...] = norm.linear(c).to(dtype).unsqueeze(1).chunk(parts, dim=-1)
    return out


def _after_attention(x: Tensor, seen: Tensor, modulation: list[Tensor], mlp: Any) -> Tensor:
    """What comes after attention, for latents or text: its gate, and the gated MLP of the modulated norm."""
    gate_attn, shift_mlp, scale_mlp, gate_mlp = modulation
    x = gated_add(x, gate_attn, seen)
    return gated_add(x, gate_mlp, mlp(layer_norm(x, 1 + scale_mlp, shift_mlp)))


def joint_attention(attn: Any, x: Tensor, text: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Latents (N, T, D), text (N, L, D), mask (N, T + L) → both after attention; text's is not used in the last layer.

    diffusers' processor takes no mask, so that padding would count.
    """
    q = _unit_heads(attn.to_q(x), attn.add_q_proj(text), attn.norm_q, attn.norm_added_q)
    k = _unit_heads(attn.to_k(x), attn.add_k_proj(text), attn.norm_k, attn.norm_added_k)
    v = to_heads(torch.cat([attn.to_v(x), attn.add_v_proj(text)], dim=1), attn.heads)
    seen = attend(q, k, v, mask=mask).transpose(1, 2).flatten(2)  # (N, H, T + L, D/H) -> (N, T + L, D)
    x, text = seen.split([x.shape[1], text.shape[1]], dim=1)
    return attn.to_out[0](x), text if attn.context_pre_only else attn.to_add_out(text)


def _unit_heads(x: Tensor, text: Tensor, norm: Any, norm_text: Any) -> Tensor:
    """`unit_heads` by diffusers' RMSNorm of a head's channels, in the dtype of x.

    Weights that are elsewhere until their module is called (offloading) are on the device "meta": it is called then.
    """
    if norm.weight.is_meta:
        heads = [one(part.unflatten(-1, (-1, len(one.weight)))) for one, part in ((norm, x), (norm_text, text))]
        return torch.cat(heads, dim=1).transpose(1, 2)  # (N, T + L, H, D/H) -> (N, H, T + L, D/H)
    return unit_heads(x, text, norm.weight.to(x.dtype), norm_text.weight.to(x.dtype), norm.eps)
