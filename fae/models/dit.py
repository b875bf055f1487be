"""diffusers' DiT as a drop-in generator, so that LightningDiT has a reference at the same width and depth."""

from typing import Any

import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import CombinedTimestepLabelEmbeddings
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from torch import Tensor, nn

from fae.models.final_layer import guide_head, to_grid, with_extras
from fae.nn import AnyGrid, Grid, grid_of, init_linears, run_block, sincos_for, sincos_table, size_embedder
from fae.sampling import SizedInputs, split_sizes

# DiT was made for integer steps of a 1,000-step diffusion; t in [0, 1] is stretched to them.
TIME_SCALE = 1000.0


class SizedLabelEmbeddings(CombinedTimestepLabelEmbeddings):
    """diffusers' embedding of time and label with one of size and crop, (N, D), which comes with the labels."""

    def forward(self, timestep: Tensor, class_labels: Any, hidden_dtype: Any = None) -> Tensor:
        """Times (N,), and labels (N,) with the sizes' embedding → (N, D)."""
        labels, size = class_labels
        out: Tensor = super().forward(timestep, labels, hidden_dtype=hidden_dtype)
        sized: Tensor = out + size.to(out.dtype)
        return sized


class DiT(ModelMixin, ConfigMixin, AnyGrid):
    """`DiTTransformer2DModel` with patch size 1 behind LightningDiT's interface (DiT, arXiv 2212.09748).

    diffusers gives each block its own embedders, each of which draws its own label dropout while training: here that
    dropout is off, labels are dropped once a sample by the caller, and label `num_classes` is the null class.

    Args:
        in_channels, grid, num_classes, hidden_size, depth, num_heads, internal_guidance_depth, size_conditioning:
            as for `LightningDiT`.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 32,
        grid: Grid = (16, 16),
        num_classes: int = 1000,
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        internal_guidance_depth: int | None = None,
        size_conditioning: bool = False,
    ) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"num_heads: expected a divisor of the width {hidden_size}; received {num_heads}")
        self.grid = (grid[0], grid[1])
        self.in_channels, self.num_classes = in_channels, num_classes
        self.transformer: Any = DiTTransformer2DModel(
            num_attention_heads=num_heads,
            attention_head_dim=hidden_size // num_heads,
            in_channels=in_channels,
            out_channels=in_channels,
            num_layers=depth,
            sample_size=max(grid),
            patch_size=1,
            num_embeds_ada_norm=num_classes,
        )
        if grid[0] != grid[1]:  # diffusers makes square tables; no part of the weights
            self.transformer.pos_embed.pos_embed = sincos_table(self.grid, hidden_size)
        self.gradient_checkpointing = False
        self._init_weights()
        self.internal_guidance_depth = internal_guidance_depth
        self.guide_layer = guide_head(hidden_size, in_channels, internal_guidance_depth, depth)
        self.size_embedder = size_embedder(size_conditioning, hidden_size)
        if size_conditioning:
            for block in self.transformer.transformer_blocks:
                block.norm1.emb.__class__ = SizedLabelEmbeddings  # the same weights

    def _init_weights(self) -> None:
        """adaLN-zero as in DiT, sec. 3.2, which diffusers leaves to checkpoints; and no label dropout inside."""
        init_linears(self)
        for block in self.transformer.transformer_blocks:
            nn.init.normal_(block.norm1.emb.class_embedder.embedding_table.weight, std=0.02)
            nn.init.zeros_(block.norm1.linear.weight)
            block.norm1.emb.class_embedder.dropout_prob = 0.0
        nn.init.zeros_(self.transformer.proj_out_1.weight)
        nn.init.zeros_(self.transformer.proj_out_2.weight)

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor | SizedInputs, with_guide: bool = False, tokens_of: int | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Noised latents x (N, h, w, c), times t (N,) (1 = noise), labels y (N,) int64 → velocity ε - x_0 (N, h, w, c).

        With `with_guide` the prediction of the head for internal guidance comes as a second one, with `tokens_of` the
        tokens (N, h·w, D) behind that block, counted from 1, as the last one. The blocks are called here, as diffusers'
        model does, which lets nobody see the tokens between two of them.

        Raises:
            ValueError: x has another width than the model.
        """
        grid = grid_of(x, self.in_channels, "latents")
        dit, time = self.transformer, t * TIME_SCALE
        labels, sizes = split_sizes(y)
        labels = labels if self.size_embedder is None else (labels, self.size_embedder(sizes))
        positions = sincos_for(dit.pos_embed.pos_embed, self.grid, grid, self.position_scaling)
        # (N, h, w, c) -> (N, c, h, w) -> (N, D, h, w) -> (N, h·w, D)
        h = dit.pos_embed.proj(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        h = (h + positions).to(h.dtype)
        guide = tokens = None
        for number, block in enumerate(dit.transformer_blocks, 1):
            h = run_block(block, self.gradient_checkpointing, h, None, None, None, time, None, labels)
            if with_guide and number == self.internal_guidance_depth:
                guide = h
            tokens = h if number == tokens_of else tokens
        c = F.silu(dit.transformer_blocks[0].norm1.emb(time, labels, hidden_dtype=h.dtype))
        shift, scale = dit.proj_out_1(c).chunk(2, dim=1)
        out = to_grid(dit.proj_out_2(dit.norm_out(h) * (1 + scale[:, None]) + shift[:, None]), x)
        if guide is not None and self.guide_layer is not None:
            guide = to_grid(self.guide_layer(guide, c), x)
        return with_extras(out, guide, tokens)
