"""LightningDiT on captions: tokens attend to the text's states, the pooled vector is added to the time embedding."""

from typing import ClassVar

import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401 - diffusers looks it up in a model's module
from torch import Tensor, nn

from fae.models.final_layer import to_grid, with_extras
from fae.models.lightning_dit import LightningDiT
from fae.models.text_states import unit_states
from fae.nn import Grid, RMSNorm, attend, grid_of, init_linears, run_block, to_heads
from fae.sampling import Captions, SizedInputs, split_sizes


class CrossAttention(nn.Module):
    """x + attention of its tokens (N, T, D) to those states (N, L, D) of a caption that count."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = RMSNorm(dim)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Tokens x (N, T, D), states (N, L, D), mask (N, L) bool → (N, T, D)."""
        # (N, T, D) and (N, L, 2·D) -> 3 × (N, H, T or L, D/H)
        parts = self.q(self.norm(x)), *self.kv(states).chunk(2, dim=-1)
        q, k, v = (to_heads(part, self.num_heads) for part in parts)
        # (N, H, T, D/H) -> (N, T, D)
        out: Tensor = x + self.proj(attend(q, k, v, mask=mask).transpose(1, 2).flatten(2)).to(x.dtype)
        return out


class PooledEmbedder(nn.Module):
    """Pooled vectors (N, P), brought to unit mean square, → (N, D) by a two-layer MLP."""

    def __init__(self, pooled_dim: int, dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(pooled_dim, dim)
        self.linear2 = nn.Linear(dim, dim)

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled vectors (N, P) → (N, D)."""
        out: Tensor = self.linear2(F.silu(self.linear1(unit_states(pooled, self.linear1.weight))))
        return out


class TextLightningDiT(LightningDiT):
    """Velocity of noised latents for a time and a caption (cross-attention as in PixArt-α, arXiv 2310.00426, 2.2).

    Each layer of LightningDiT comes after one of cross-attention, whose output is zero at first; it attends to those
    states of the caption that count, brought to unit mean square and projected.

    Args:
        context_dim: channels of a caption's states.
        pooled_dim: channels of its pooled vector.
        in_channels, grid, hidden_size, depth, num_heads, mlp_ratio, internal_guidance_depth, size_conditioning: as for
            `LightningDiT`; there are no classes.
    """

    # Of LightningDiT's settings, this one is no setting here.
    ignore_for_config: ClassVar[list[str]] = ["num_classes"]

    @register_to_config
    def __init__(
        self,
        context_dim: int,
        pooled_dim: int,
        in_channels: int = 32,
        grid: Grid = (16, 16),
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        internal_guidance_depth: int | None = None,
        size_conditioning: bool = False,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            grid=grid,
            num_classes=0,
            hidden_size=hidden_size,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            internal_guidance_depth=internal_guidance_depth,
            size_conditioning=size_conditioning,
        )
        self.context_dim, self.pooled_dim = context_dim, pooled_dim
        del self.y_embedder
        self.pooled_embedder = PooledEmbedder(pooled_dim, hidden_size)
        self.context_embedder = nn.Linear(context_dim, hidden_size)
        self.crosses = nn.ModuleList(CrossAttention(hidden_size, num_heads) for _ in range(depth))
        self._init_text_weights()

    def _init_text_weights(self) -> None:
        """Xavier linears, a small embedder, and cross-attention that adds nothing yet."""
        for part in (self.pooled_embedder, self.context_embedder, self.crosses):
            init_linears(part)
        for linear in (self.pooled_embedder.linear1, self.pooled_embedder.linear2):
            nn.init.normal_(linear.weight, std=0.02)
        for name, weight in self.crosses.named_parameters():
            if name.endswith("proj.weight"):
                nn.init.zeros_(weight)

    def forward(  # type: ignore[override]
        self, x: Tensor, t: Tensor, y: Captions | SizedInputs, with_guide: bool = False, tokens_of: int | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Noised latents x (N, h, w, c), times t (N,) (1 = noise), captions → velocity ε - x_0 (N, h, w, c).

        With `with_guide` the prediction of the head for internal guidance comes as a second one, with `tokens_of` the
        tokens (N, h·w, D) behind that block, counted from 1, as the last one.

        Raises:
            ValueError: x has another width than the model.
        """
        rope = self._rope(grid_of(x, self.in_channels, "latents"))
        captions, sizes = split_sizes(y)
        captions = captions.trimmed()
        c = self.t_embedder(t) + self.pooled_embedder(captions.pooled)
        h, c = self._embedded(x, F.silu(self._sized(c, sizes)))
        # (N, L, C) -> (N, L, D)
        states = self.context_embedder(unit_states(captions.states, self.context_embedder.weight)).to(h.dtype)
        mask, guide, tokens = captions.mask, None, None
        for number, (cross, block) in enumerate(zip(self.crosses, self.blocks, strict=True), 1):
            h = run_block(cross, self.gradient_checkpointing, h, states, mask)
            h = run_block(block, self.gradient_checkpointing, h, c, rope)
            guide = self._guide(h, c, number, x) if with_guide and guide is None else guide
            tokens = h if number == tokens_of else tokens
        return with_extras(to_grid(self.final_layer(h, c), x), guide, tokens)
