"""STARFlow: a normalizing flow of causal transformers over latent tokens, one of them deep and the others shallow."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from fae.models.flow_block import FlowBlock, Guide
from fae.models.text_states import unit_states
from fae.nn import AnyGrid, Grid, grid_of, init_linears
from fae.sampling import Captions, Guidance, scale_at

LOG_TWO_PI = math.log(2 * math.pi)


class Flowed(NamedTuple):
    """Latents as the flow sees them: z (N, h, w, c), log |det dz/dx| (N,), Σ of the inner blocks' mean squares (N,)."""

    z: Tensor
    log_det: Tensor
    inner_norm: Tensor

    def log_prob(self) -> Tensor:
        """Exact log-density (N,) of the latents in nats: log N(z; 0, 1) + log |det dz/dx|."""
        return self.log_det - 0.5 * (self.z.square() + LOG_TWO_PI).sum(dim=(1, 2, 3))


class StarFlow(ModelMixin, ConfigMixin, AnyGrid):
    """Latents of a class ↔ standard normal noise (STARFlow, arXiv 2506.06276, on TARFlow, arXiv 2412.06329).

    The blocks take the tokens in raster order and backwards in turns. The one next to the noise is deep, and it alone
    sees the condition: its sequence begins with a token of the label, or with those of a caption's states, which are
    zeros behind the last one and count all the same, and one of its pooled vector.

    Args:
        in_channels: channels of a latent token (FAE: 32).
        grid: (h, w) of the latents that it is trained on (FAE: 16, 16); others are taken too, see `AnyGrid`.
        num_classes: real classes; label `num_classes` is the null class of guidance. None where captions are taken.
        hidden_size, deep_depth, num_blocks, shallow_depth, num_heads, mlp_ratio: the size; see `presets.STARFLOW`.
            "18(6)" of the paper is six blocks, the deep one of 18 layers, the others of 2.
        soft_clip: bound of the number of which softplus makes a deviation (ml-starflow: 4).
        noise_std: deviation of the noise that latents have in training, in units of theirs (the paper: 0.3); samples
            come with it and `denoise` takes it away.
        context_dim, pooled_dim: channels of a caption's states and of its pooled vector; 0 = conditions are classes.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 32,
        grid: Grid = (16, 16),
        num_classes: int = 1000,
        hidden_size: int = 2048,
        deep_depth: int = 18,
        num_blocks: int = 6,
        shallow_depth: int = 2,
        num_heads: int = 32,
        mlp_ratio: float = 4.0,
        soft_clip: float = 4.0,
        noise_std: float = 0.3,
        context_dim: int = 0,
        pooled_dim: int = 0,
    ) -> None:
        super().__init__()
        self.grid = (grid[0], grid[1])
        self.in_channels, self.noise_std = in_channels, noise_std
        self.num_classes = 0 if context_dim else num_classes
        depths = [shallow_depth] * (num_blocks - 1) + [deep_depth]
        self.flow_blocks = nn.ModuleList(
            FlowBlock(
                in_channels,
                self.grid,
                hidden_size,
                depth,
                num_heads,
                mlp_ratio=mlp_ratio,
                soft_clip=soft_clip,
                backwards=(num_blocks - 1 - number) % 2 == 1,
            )
            for number, depth in enumerate(depths)
        )
        self.starts = nn.Parameter(torch.empty(num_blocks - 1, hidden_size))
        self.y_embedder = nn.Embedding(self.num_classes + 1, hidden_size)
        self.context_dim, self.pooled_dim = context_dim, pooled_dim
        if context_dim:
            self.context_embedder = nn.Linear(context_dim, hidden_size)
            self.pooled_embedder = nn.Linear(pooled_dim, hidden_size)
        self._init_weights()

    def _init_weights(self) -> None:
        """Xavier linears, small embedders, and zeros where each block starts as the identity (TARFlow)."""
        init_linears(self)
        for weight in (self.starts, self.y_embedder.weight):
            nn.init.normal_(weight, std=0.02)
        for name, weight in self.named_parameters():
            if name.endswith(".linear.weight"):
                nn.init.zeros_(weight)

    def forward(
        self, x: Tensor, y: Tensor | Captions, inverting: bool = False, scales: Sequence[float] | None = None
    ) -> Any:
        """Latents x (N, h, w, c), labels y (N,) int64 or captions → noise and log-determinant, `Flowed`, float32.

        `inverting` does what `inverse` says.

        Raises:
            ValueError: x has another width than the model, or y is of the other kind.
        """
        if inverting:
            return self._inverse(x, y, scales)
        grid = grid_of(x, self.in_channels, "latents")
        h = x.float().flatten(1, 2)  # (N, h, w, c) -> (N, h·w, c)
        log_det, inner_norm = h.new_zeros(len(h)), h.new_zeros(len(h))
        prefixes = self._prefixes(y)
        for number, (block, prefix) in enumerate(zip(self.flow_blocks, prefixes, strict=True)):
            if number:
                inner_norm = inner_norm + h.square().mean(dim=(1, 2))
            h, log_sigma = block(h, prefix, grid=grid)
            log_det = log_det - log_sigma.sum(dim=(1, 2))
        return Flowed(h.unflatten(1, grid), log_det, inner_norm)

    @torch.no_grad()
    def inverse(self, z: Tensor, y: Tensor | Captions, scales: Sequence[float] | None = None) -> Tensor:
        """Noise z (N, h, w, c) → latents x (N, h, w, c), token by token from cached keys and values.

        Args:
            z: noise (N, h, w, c).
            y: labels (N,) int64, or captions.
            scales: guidance scale of each of the deep block's h·w tokens, in raster order; None or all 1 = none.
        """
        # By __call__, as in `FlowBlock.inverse`.
        x: Tensor = self(z, y, inverting=True, scales=scales)
        return x

    def _inverse(self, z: Tensor, y: Tensor | Captions, scales: Sequence[float] | None) -> Tensor:
        grid = grid_of(z, self.in_channels, "noise")
        h = z.float().flatten(1, 2)  # (N, h, w, c) -> (N, h·w, c)
        *shallow, deep = self._prefixes(y)
        guide = None
        if scales is not None and any(scale != 1 for scale in scales):
            null = y.empty() if isinstance(y, Captions) else torch.full_like(y, self.num_classes)
            guide = Guide(self._prefixes(null)[-1], scales)
        *lower, top = cast(list[FlowBlock], list(self.flow_blocks))
        h = top.inverse(h, deep, guide, grid)
        for block, prefix in zip(reversed(lower), reversed(shallow), strict=True):
            h = block.inverse(h, prefix, grid=grid)
        out: Tensor = h.unflatten(1, grid)
        return out

    def generate(self, z: Tensor, y: Tensor | Captions, guidance: Guidance = ()) -> Tensor:
        """Normal noise z (N, h, w, c) and labels y (N,) or captions → latents without noise."""
        return self.denoise(self.inverse(z, y, self.scales(guidance, z.shape[1] * z.shape[2])), y)

    def scales(self, guidance: Guidance, tokens: int | None = None) -> list[float]:
        """The deep block's guidance scales: the k-th of its T tokens in raster order has that of t = 1 - k/T.

        `tokens` is T, that of the trained grid when absent.
        """
        tokens = tokens or self.grid[0] * self.grid[1]
        return [scale_at(guidance, 1 - token / tokens) for token in range(tokens)]

    def denoise(self, x: Tensor, y: Tensor | Captions) -> Tensor:
        """Add σ²·∇ log p(x): the mean of the latents that x is a noised draw of (Tweedie; TARFlow, sec. 3.4)."""
        if self.noise_std == 0:
            return x
        # Weights that autocast cast without gradients cannot be used with them.
        torch.clear_autocast_cache()
        with torch.inference_mode(False), torch.enable_grad():
            noised = x.clone().requires_grad_()
            (score,) = torch.autograd.grad(self(noised, y.clone()).log_prob().sum(), noised)
        return x + self.noise_std**2 * score

    def _prefixes(self, y: Tensor | Captions) -> list[Tensor]:
        """What each block's sequence begins with, (N, P, D); its last token predicts the first latent."""
        if isinstance(y, Captions) != bool(self.context_dim):
            expected = "captions" if self.context_dim else "labels"
            raise ValueError(f"conditions: expected {expected}, as the model was made; received {type(y).__name__}")
        # (N,) -> (N, 1, D)
        condition = self._text_prefix(y) if isinstance(y, Captions) else self.y_embedder(y).unsqueeze(1)
        return [*(start.expand(len(y), 1, -1) for start in self.starts), condition]

    def _text_prefix(self, captions: Captions) -> Tensor:
        """(N, L + 1, D): the states', and the pooled vector's on top of the null class's."""
        states = self.context_embedder(unit_states(captions.states, self.context_embedder.weight))
        pooled = self.pooled_embedder(unit_states(captions.pooled, self.pooled_embedder.weight))
        null = torch.full_like(captions.lengths, self.num_classes)
        label = self.y_embedder(null) + pooled
        return torch.cat([states.to(label.dtype), label.unsqueeze(1)], dim=1)


def bits_per_dim(log_prob: Tensor, dims: int) -> Tensor:
    """Nats of log-density to bits for each of `dims` numbers: -log p / (D·ln 2)."""
    return -log_prob / (dims * math.log(2))
