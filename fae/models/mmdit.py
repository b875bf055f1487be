"""diffusers' MMDiT (Stable Diffusion 3's transformer) at patch size 1: latents and captions in one attention."""

from typing import Any

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.activations import GELU
from diffusers.models.attention import JointTransformerBlock
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor, nn

from fae.models.final_layer import guide_head, to_grid, with_extras
from fae.models.text_states import unit_states
from fae.nn import AnyGrid, Grid, JointBlock, grid_of, init_linears, run_block, sincos_for, size_embedder
from fae.sampling import Captions, SizedInputs, split_sizes

# SD3's time runs to 1,000; t in [0, 1] is stretched to it.
TIME_SCALE = 1000.0


class MMDiT(ModelMixin, ConfigMixin, AnyGrid):
    """Velocity of noised latents for a time and a caption: `SD3Transformer2DModel` (MMDiT, arXiv 2403.03206).

    diffusers' own attention takes no mask, so that padding would count; `JointBlock`, of the same weights, has one:
    states behind a caption's last are seen by nobody, and on processors none beyond the batch's longest are
    computed. States and pooled vectors come with unit mean square, queries and keys are normalized as in SD 3.5, and
    GELU is exact.

    Args:
        context_dim: channels of a caption's states (the paper, flan-T5-XL: 2048).
        pooled_dim: channels of its pooled vector (T5's mean: 2048).
        in_channels, grid: the latents' (the paper: 32 at 16×16 and 64 at 24×24); other grids are taken too, see
            `AnyGrid`.
        hidden_size, depth, num_heads: the size; see `fae.models.presets.MMDIT`.
        internal_guidance_depth: number of blocks before the head for internal guidance; None = no such head.
        size_conditioning: take size and crop of images too, see `fae.sampling.Sized`.

    The default is the paper's, 16 layers of 16 heads × 64: 599,558,176 parameters. The paper says 603.46 M, 0.65 %
    more, and not what they are.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        context_dim: int = 2048,
        pooled_dim: int = 2048,
        in_channels: int = 32,
        grid: Grid = (16, 16),
        hidden_size: int = 1024,
        depth: int = 16,
        num_heads: int = 16,
        internal_guidance_depth: int | None = None,
        size_conditioning: bool = False,
    ) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"num_heads: expected a divisor of the width {hidden_size}; received {num_heads}")
        self.grid = (grid[0], grid[1])
        self.in_channels, self.num_classes = in_channels, 0
        self.context_dim, self.pooled_dim = context_dim, pooled_dim
        self.transformer: Any = SD3Transformer2DModel(
            sample_size=max(grid),
            patch_size=1,
            in_channels=in_channels,
            out_channels=in_channels,
            num_layers=depth,
            attention_head_dim=hidden_size // num_heads,
            num_attention_heads=num_heads,
            joint_attention_dim=context_dim,
            caption_projection_dim=hidden_size,
            pooled_projection_dim=pooled_dim,
            pos_embed_max_size=max(grid),
            qk_norm="rms_norm",
        )
        for module in self.transformer.modules():
            if isinstance(module, JointTransformerBlock):
                module.__class__ = JointBlock  # the same weights, passed through another way
            elif isinstance(module, GELU):
                # The function itself: 4 times as fast on CPUs as its tanh formula, from which it differs by 5e-4.
                module.approximate = "none"
        self.gradient_checkpointing = False
        self._init_weights()
        self.internal_guidance_depth = internal_guidance_depth
        self.guide_layer = guide_head(hidden_size, in_channels, internal_guidance_depth, depth)
        self.size_embedder = size_embedder(size_conditioning, hidden_size)

    def _init_weights(self) -> None:
        """adaLN-zero as in DiT, sec. 3.2, which diffusers leaves to checkpoints."""
        init_linears(self)
        for embedder in (
            self.transformer.time_text_embed.timestep_embedder,
            self.transformer.time_text_embed.text_embedder,
        ):
            nn.init.normal_(embedder.linear_1.weight, std=0.02)
            nn.init.normal_(embedder.linear_2.weight, std=0.02)
        for block in self.transformer.transformer_blocks:
            nn.init.zeros_(block.norm1.linear.weight)
            nn.init.zeros_(block.norm1_context.linear.weight)
        nn.init.zeros_(self.transformer.norm_out.linear.weight)
        nn.init.zeros_(self.transformer.proj_out.weight)

    def forward(
        self, x: Tensor, t: Tensor, y: Captions | SizedInputs, with_guide: bool = False, tokens_of: int | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Noised latents x (N, h, w, c), times t (N,) (1 = noise), captions → velocity ε - x_0 (N, h, w, c).

        With `with_guide` the prediction of the head for internal guidance comes as a second one, with `tokens_of` the
        tokens (N, h·w, D) behind that block, counted from 1, as the last one. The blocks are called here, as diffusers'
        model does, which lets nobody see the tokens between two of them.

        Raises:
            ValueError: x has another width than the model.
        """
        grid = grid_of(x, self.in_channels, "latents")
        captions, sizes = split_sizes(y)
        sd3, captions, weight = self.transformer, captions.trimmed(), self.transformer.context_embedder.weight
        # (N, h, w, c) -> (N, c, h, w) -> (N, h·w, D)
        h = sd3.pos_embed.proj(x.permute(0, 3, 1, 2).to(weight.dtype)).flatten(2).transpose(1, 2)
        h = (h + self._positions(grid)).to(h.dtype).contiguous()
        text = sd3.context_embedder(unit_states(captions.states, weight))
        c = sd3.time_text_embed(t * TIME_SCALE, unit_states(captions.pooled, weight))
        c = c if self.size_embedder is None else c + self.size_embedder(sizes)
        # (N, L) -> (N, h·w + L): latents are always seen.
        seen = {"attention_mask": nn.functional.pad(captions.mask, (h.shape[1], 0), value=True)}
        guide = tokens = None
        for number, block in enumerate(sd3.transformer_blocks, 1):
            text, h = run_block(block, self.gradient_checkpointing, h, text, c, seen)
            if with_guide and number == self.internal_guidance_depth:
                guide = h
            tokens = h if number == tokens_of else tokens
        out = to_grid(sd3.proj_out(sd3.norm_out(h, c)), x)
        if guide is not None and self.guide_layer is not None:
            guide = to_grid(self.guide_layer(guide, nn.functional.silu(c).to(h.dtype)), x)
        return with_extras(out, guide, tokens)

    def _positions(self, grid: Grid) -> Tensor:
        """(1, h·w, D): of the trained grid the middle of diffusers' square table."""
        embedder, (height, width) = self.transformer.pos_embed, self.grid
        first = (max(self.grid) - height) // 2, (max(self.grid) - width) // 2
        own = embedder.cropped_pos_embed(height, width)
        return sincos_for(own, self.grid, grid, self.position_scaling, first)
