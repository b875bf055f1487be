"""The pixel decoder: a ViT that decodes an image from feature tokens, one patch a token, with or without overlap."""

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from fae.models.autoencoder import _set_statistics
from fae.nn import (
    AnyGrid,
    Attention,
    Grid,
    SwiGLU,
    grid_of,
    init_linears,
    learned_for,
    rope_for,
    rope_table,
    run_block,
    swiglu_hidden_dim,
)


class ViTBlock(nn.Module):
    """Pre-norm ViT layer: LayerNorm, attention, and SwiGLU with its hidden width rounded up to 8 as in DINOv2-g."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = LayerNorm(dim)
        self.mlp = SwiGLU(dim, swiglu_hidden_dim(dim, mlp_ratio, multiple_of=8))

    def forward(self, x: Tensor, rope: Tensor | None) -> Tensor:
        """Tokens x (N, T, D), rope (2, T, D) or none → (N, T, D)."""
        x = x + self.attn(self.norm1(x), rope)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class LayerNorm(nn.LayerNorm):
    """LayerNorm in the dtype of its input, where autocast would go to float32 and back."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) → (N, T, D)."""
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class PixelDecoder(ModelMixin, ConfigMixin, AnyGrid):
    """Feature tokens (N, h, w, C) → images (N, 3, h·p, w·p) in about [-1, 1] (arXiv 2512.07829, sec. 3).

    Args:
        feature_dim: C, channels of a feature token.
        grid: (h, w) of the tokens that it is trained on; of others the learned table is resampled, see `AnyGrid`.
        patch_size: p, pixels on a side of the patch that a token decodes to.
        hidden_size, depth, num_heads, mlp_ratio: the ViT's size; see `fae.models.presets.PIXEL_DECODER`.
        use_rope: rotary positions beside the learned table. Not stated in the paper; no parameters.
        patch_overlap: o, pixels by which a token's patch reaches into each of its neighbors, at most p / 2. Patches of
            (p + 2·o)² pixels are blended by linear ramps of 2·o pixels, so that there are no seams between them; 0 =
            patches side by side (the paper).

    Raises:
        ValueError: an overlap with more than the next patch.

    The paper says ViT-L, MLP ratio 4 and 305.36 M for 1536 → 256×256. With a plain GELU MLP the same layers have
    304,934,656 parameters, 0.14 % less; with SwiGLU as in DINOv2-g (hidden width 2,736) they have 305,360,896, which
    is 305.36 M. That is our reading, not a statement of the paper.
    """

    _supports_gradient_checkpointing = True
    rope: Tensor | None
    blend_rows: Tensor
    blend_columns: Tensor

    @register_to_config
    def __init__(
        self,
        feature_dim: int,
        grid: Grid = (16, 16),
        patch_size: int = 16,
        hidden_size: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        use_rope: bool = True,
        patch_overlap: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= 2 * patch_overlap <= patch_size:
            raise ValueError(
                f"patch_overlap: expected 0 to {patch_size // 2}, half of the patch's {patch_size} pixels; received "
                f"{patch_overlap}"
            )
        self.grid, self.num_heads = (grid[0], grid[1]), num_heads
        self.patch_size, self.patch_overlap = patch_size, patch_overlap
        self.x_embedder = nn.Linear(feature_dim, hidden_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], hidden_size))
        self.blocks = nn.ModuleList(ViTBlock(hidden_size, num_heads, mlp_ratio) for _ in range(depth))
        self.norm = LayerNorm(hidden_size)
        self.final_layer = nn.Linear(hidden_size, 3 * (patch_size + 2 * patch_overlap) ** 2)
        # No buffers of None: accelerate takes every buffer for a tensor.
        if use_rope:
            self.register_buffer("rope", rope_table(self.grid, num_heads, hidden_size // num_heads), persistent=False)
        else:
            self.rope = None
        for name, cells in zip(("blend_rows", "blend_columns"), self.grid, strict=True):
            if patch_overlap:
                self.register_buffer(name, blend_weights(cells, patch_size, patch_overlap), persistent=False)
        self.register_buffer("feature_mean", torch.zeros(feature_dim))
        self.register_buffer("feature_std", torch.ones(feature_dim))
        self.gradient_checkpointing = False
        init_linears(self)
        nn.init.normal_(self.pos_embed, std=0.02)

    def set_feature_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Record per-channel mean and deviation (C,) of the training features; channels without spread keep std 1."""
        _set_statistics(self.feature_mean, self.feature_std, mean, std)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, h, w, C) in the scale of the store → float32 images (N, 3, h·p, w·p).

        Raises:
            ValueError: the features have another width than the model.
        """
        grid = grid_of(features, self.config.feature_dim, "features")
        # (N, h, w, C) -> (N, h·w, C) -> (N, h·w, D)
        x = torch.addcmul(-self.feature_mean / self.feature_std, features, 1 / self.feature_std)
        x = self.x_embedder(x.flatten(1, 2).to(self.x_embedder.weight.dtype))
        x = x + learned_for(self.pos_embed, self.grid, grid).to(x.dtype)
        rope = self._rope(grid)
        for block in self.blocks:
            x = run_block(block, self.gradient_checkpointing, x, rope)
        patches = self.final_layer(self.norm(x)).float()
        return self._blend(patches, grid) if self.patch_overlap else self._unpatchify(patches, grid)

    def _rope(self, grid: Grid) -> Tensor | None:
        if self.rope is None:
            return None
        return rope_for(self.rope, self.grid, grid, self.num_heads, self.position_scaling)

    def _blend_weights(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Weights of the patches' rows (h, p + 2·o) and columns (w, p + 2·o)."""
        own = self.blend_rows, self.blend_columns
        if grid == self.grid:
            return own
        rows, columns = (blend_weights(cells, self.patch_size, self.patch_overlap) for cells in grid)
        return rows.to(own[0]), columns.to(own[1])

    def _unpatchify(self, patches: Tensor, grid: Grid) -> Tensor:
        (height, width), p = grid, self.patch_size
        # (N, h·w, 3·p·p) -> (N, h, w, 3, p, p) -> (N, 3, h, p, w, p) -> (N, 3, h·p, w·p)
        x = patches.view(-1, height, width, 3, p, p).permute(0, 3, 1, 4, 2, 5)
        return x.reshape(-1, 3, height * p, width * p)

    def _blend(self, patches: Tensor, grid: Grid) -> Tensor:
        """Add up overlapping patches, weighted so that the weights of a pixel sum to 1."""
        (height, width), p, o = grid, self.patch_size, self.patch_overlap
        q, (rows, columns) = p + 2 * o, self._blend_weights(grid)
        # (N, h·w, 3·q·q) -> (N, h, w, 3, q, q), times (h, 1, 1, q, 1) and (w, 1, 1, q)
        x = patches.view(-1, height, width, 3, q, q)
        x = x * rows.view(height, 1, 1, q, 1) * columns.view(width, 1, 1, q)
        # (N, h, w, 3, q, q) -> (N, 3·q·q, h·w) -> (N, 3, h·p + 2·o, w·p + 2·o)
        x = x.flatten(3).flatten(1, 2).transpose(1, 2)
        x = F.fold(x, (height * p + 2 * o, width * p + 2 * o), kernel_size=q, stride=p)
        return x[:, :, o:-o, o:-o]


def blend_weights(cells: int, patch_size: int, overlap: int) -> Tensor:
    """Weights (cells, p + 2·o) of patches along an axis, ramps of 2·o pixels that sum to 1 with the neighbor's.

    The first and the last patch have no neighbor on one side, where their weight is 1.
    """
    ramp = (torch.arange(2 * overlap) + 0.5) / (2 * overlap)
    weights = torch.cat([ramp, torch.ones(patch_size - 2 * overlap), 1 - ramp]).repeat(cells, 1)
    weights[0, : 2 * overlap] = 1
    weights[-1, patch_size:] = 1
    return weights
