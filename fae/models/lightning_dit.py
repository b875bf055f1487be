"""LightningDiT: the generator, a diffusion transformer with RoPE, RMSNorm, SwiGLU and adaLN-zero."""

import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from fae.models.final_layer import FinalLayer, guide_head, to_grid, with_extras
from fae.nn import (
    FREQUENCIES,
    AnyGrid,
    Attention,
    Grid,
    RMSNorm,
    SwiGLU,
    gated_add,
    grid_of,
    init_linears,
    rope_for,
    rope_table,
    run_block,
    sincos_for,
    sincos_table,
    size_embedder,
    swiglu_hidden_dim,
    timestep_frequencies,
)
from fae.sampling import SizedInputs, split_sizes


class TimestepEmbedder(nn.Module):
    """Times (N,) in [0, 1] → (N, D): sinusoids of t itself, as LightningDiT and SiT feed them, and a two-layer MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(FREQUENCIES, dim)
        self.linear2 = nn.Linear(dim, dim)

    def forward(self, t: Tensor) -> Tensor:
        """Times (N,) → (N, D)."""
        frequencies = timestep_frequencies(t).to(self.linear1.weight.dtype)
        out: Tensor = self.linear2(F.silu(self.linear1(frequencies)))
        return out


class LightningDiTBlock(nn.Module):
    """x + gate·f(norm(x)·(1 + scale) + shift) for attention, then SwiGLU (adaLN-zero: DiT, arXiv 2212.09748, 3.2)."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = RMSNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = RMSNorm(dim)
        self.mlp = SwiGLU(dim, swiglu_hidden_dim(dim, mlp_ratio))
        self.adaLN_modulation = nn.Linear(dim, 6 * dim)

    def forward(self, x: Tensor, c: Tensor, rope: Tensor) -> Tensor:
        """Tokens x (N, T, D), condition c (N, D), rope (2, T, D) → (N, T, D)."""
        # (N, D) -> (N, 6·D) -> 6 × (N, 1, D)
        parts = self.adaLN_modulation(c).unsqueeze(1).chunk(6, dim=-1)
        shift_attn, scale_attn, gate_attn, shift_mlp, scale_mlp, gate_mlp = parts
        x = gated_add(x, gate_attn, self.attn(self.norm1(x, shift_attn, scale_attn), rope))
        return gated_add(x, gate_mlp, self.mlp(self.norm2(x, shift_mlp, scale_mlp)))


class LightningDiT(ModelMixin, ConfigMixin, AnyGrid):
    """Velocity of noised latents for a time and a class (LightningDiT, arXiv 2501.01423; patch size 1).

    Args:
        in_channels: channels of a latent token (the paper: 32).
        grid: (h, w) of the latents that it is trained on (the paper: 16, 16); others are taken too, see `AnyGrid`.
        num_classes: real classes; label `num_classes` is the null class of classifier-free guidance.
        hidden_size, depth, num_heads, mlp_ratio: the transformer's size; see `fae.models.presets.LIGHTNING_DIT`.
        internal_guidance_depth: number of blocks before the head for internal guidance; None = no such head.
        size_conditioning: take size and crop of images too, see `fae.sampling.Sized`.

    The default is XL/1 with 1,000 classes: 675,256,736 parameters, the paper's to the digit.
    """

    _supports_gradient_checkpointing = True
    rope: Tensor

    @register_to_config
    def __init__(
        self,
        in_channels: int = 32,
        grid: Grid = (16, 16),
        num_classes: int = 1000,
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        internal_guidance_depth: int | None = None,
        size_conditioning: bool = False,
    ) -> None:
        super().__init__()
        self.grid, self.num_heads = (grid[0], grid[1]), num_heads
        self.in_channels, self.num_classes = in_channels, num_classes
        self.x_embedder = nn.Linear(in_channels, hidden_size)
        # Fixed, yet a parameter: the published count includes it.
        self.pos_embed = nn.Parameter(sincos_table(self.grid, hidden_size), requires_grad=False)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = nn.Embedding(num_classes + 1, hidden_size)
        self.blocks = nn.ModuleList(LightningDiTBlock(hidden_size, num_heads, mlp_ratio) for _ in range(depth))
        self.final_layer = FinalLayer(hidden_size, in_channels)
        self.register_buffer("rope", rope_table(self.grid, num_heads, hidden_size // num_heads), persistent=False)
        self.gradient_checkpointing = False
        self._init_weights()
        self.internal_guidance_depth = internal_guidance_depth
        self.guide_layer = guide_head(hidden_size, in_channels, internal_guidance_depth, depth)
        self.size_embedder = size_embedder(size_conditioning, hidden_size)

    def _init_weights(self) -> None:
        """Xavier linears, small embedders, and zeros where adaLN-zero starts as the identity (DiT, sec. 3.2)."""
        init_linears(self)
        for weight in (self.y_embedder.weight, self.t_embedder.linear1.weight, self.t_embedder.linear2.weight):
            nn.init.normal_(weight, std=0.02)
        nn.init.zeros_(self.final_layer.linear.weight)
        for name, weight in self.named_parameters():
            if name.endswith("adaLN_modulation.weight"):
                nn.init.zeros_(weight)

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor | SizedInputs, with_guide: bool = False, tokens_of: int | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Noised latents x (N, h, w, c), times t (N,) (1 = noise), labels y (N,) int64 → velocity ε - x_0 (N, h, w, c).

        With `with_guide` the prediction of the head for internal guidance comes as a second one, with `tokens_of` the
        tokens (N, h·w, D) behind that block, counted from 1, as the last one.

        Raises:
            ValueError: x has another width than the model.
        """
        grid = grid_of(x, self.in_channels, "latents")
        y, sizes = split_sizes(y)
        c = self.t_embedder(t) + self.y_embedder(y)
        h, c = self._embedded(x, F.silu(self._sized(c, sizes)))  # once for all blocks
        rope, guide, tokens = self._rope(grid), None, None
        for number, block in enumerate(self.blocks, 1):
            h = run_block(block, self.gradient_checkpointing, h, c, rope)
            guide = self._guide(h, c, number, x) if with_guide and guide is None else guide
            tokens = h if number == tokens_of else tokens
        return with_extras(to_grid(self.final_layer(h, c), x), guide, tokens)

    def _sized(self, c: Tensor, sizes: Tensor | None) -> Tensor:
        """The condition (N, D) with that of sizes (N, 6), where the model takes them."""
        return c if self.size_embedder is None else c + self.size_embedder(sizes)

    def _rope(self, grid: Grid) -> Tensor:
        return rope_for(self.rope, self.grid, grid, self.num_heads, self.position_scaling)

    def _guide(self, h: Tensor, c: Tensor, number: int, x: Tensor) -> Tensor | None:
        """The guide head's prediction (N, h, w, c) like x, when block `number` is the one before it."""
        if self.guide_layer is None or number != self.internal_guidance_depth:
            return None
        return to_grid(self.guide_layer(h, c), x)

    def _embedded(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, h·w, D) with their positions, and the condition (N, D) in their dtype."""
        # (N, h, w, c) -> (N, h·w, c) -> (N, h·w, D)
        h = self.x_embedder(x.flatten(1, 2).to(self.x_embedder.weight.dtype))
        # Under autocast the stream stays in bf16, with no cast at each norm and gate: at 28 layers the output is then
        # off by 1.1 %, with a float32 stream by 0.5 %.
        grid = x.shape[1], x.shape[2]
        positions = sincos_for(self.pos_embed, self.grid, grid, self.position_scaling)
        return h + positions.to(h.dtype), c.to(h.dtype)
