"""The feature autoencoder: one attention layer compresses a frozen encoder's tokens, a transformer rebuilds them."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from fae.models.posterior import ChannelLastGaussian, UnitRMS, WithoutNoise
from fae.nn import (
    AnyGrid,
    Block,
    Grid,
    RMSNorm,
    grid_of,
    init_linears,
    rope_for,
    rope_table,
    run_block,
    sincos_for,
    sincos_table,
    skip_attention,
)
from fae.rng import normal

ACTIVATIONS = {"gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU, "identity": nn.Identity}


class AttentionEncoder(nn.Module):
    """FAE's encoder: linear → (query, key, value, skip); skip + attention → activation → linear (the paper's drawing).

    No norm, no MLP and no positions: the features carry theirs.
    """

    def __init__(self, feature_dim: int, out_dim: int, heads: int, head_dim: int, activation: str) -> None:
        super().__init__()
        self.heads = heads
        self.qkvs = nn.Linear(feature_dim, 4 * heads * head_dim)
        self.activation = ACTIVATIONS[activation]()
        self.out = nn.Linear(heads * head_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, T, C) → (N, T, out_dim)."""
        latents: Tensor = self.out(self.activation(skip_attention(x, self.qkvs, self.heads)))
        return latents


class TokenTransformer(nn.Module, AnyGrid):
    """Linear in, sine-cosine and rotary positions, `depth` layers, final RMSNorm; (N, h·w, in) → (N, h·w, width)."""

    rope: Tensor

    def __init__(self, in_dim: int, width: int, depth: int, head_dim: int, grid: Grid) -> None:
        super().__init__()
        if width % head_dim:
            raise ValueError(f"decoder_head_dim: expected a divisor of the feature width {width}; received {head_dim}")
        self.grid, self.num_heads = grid, width // head_dim
        self.x_embedder = nn.Linear(in_dim, width)
        # Fixed, yet a parameter: the published counts include it.
        self.pos_embed = nn.Parameter(sincos_table(grid, width), requires_grad=False)
        self.blocks = nn.ModuleList(Block(width, width // head_dim) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.register_buffer("rope", rope_table(grid, width // head_dim, head_dim), persistent=False)
        self.gradient_checkpointing = False

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Tokens (N, h·w, in) of a grid (h, w) → (N, h·w, width)."""
        x = self.x_embedder(x)
        x = x + sincos_for(self.pos_embed, self.grid, grid, self.position_scaling).to(x.dtype)
        rope = rope_for(self.rope, self.grid, grid, self.num_heads, self.position_scaling)
        for block in self.blocks:
            x = run_block(block, self.gradient_checkpointing, x, rope)
        out: Tensor = self.norm(x)
        return out


class OnGrid(nn.ModuleList):
    """Modules one after the other, those with positions on the tokens' grid."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Tokens (N, h·w, in) of a grid (h, w) → (N, h·w, out)."""
        for module in self:
            x = on_grid(module, x, grid)
        return x


def on_grid(module: nn.Module, x: Tensor, grid: Grid) -> Tensor:
    """A module's output for tokens x (N, h·w, in) of a grid, which it gets where it has positions."""
    out: Tensor = module(x, grid) if isinstance(module, OnGrid | TokenTransformer) else module(x)
    return out


class FeatureAutoencoder(ModelMixin, ConfigMixin, AnyGrid):
    """VAE on the tokens of a frozen vision encoder (arXiv 2512.07829, sec. 3): (N, h, w, C) ↔ (N, h, w, c).

    Args:
        feature_dim: C, channels of a feature token.
        latent_channels: c, channels of a latent token (the paper: 32).
        grid: (h, w) of the tokens that it is trained on (the paper: 16, 16); others are taken too, see `AnyGrid`.
        encoder: `attention` (the paper's), or its ablations `linear`, `transformer-6` and `none`; with `none`
            z is x itself, so latent_channels must equal feature_dim. With `pca` (not the paper's) both halves are
            linear and no training step is needed: `fae.models.pca` sets them.
        heads, head_dim: of the attention encoder (the paper: 24 × 256 = 6144 hidden channels for C = 1536).
        activation: after skip + attention. Not stated in the paper; gelu is the usual one of ViTs.
        decoder_depth: layers of the feature decoder, whose width is C (the paper: 6).
        decoder_head_dim: channels of a head of the feature decoder (the paper: 64).
        feature_norm: `channel` trains on (x - mean) / std per channel of the store's exact statistics, `none` on x.
            Not stated in the paper; `channel` gives every channel an equal say in the squared error.
        latent_norm: `none` has a posterior with a variance, `rms` latents of unit root mean square and none.

    Parameters for 1536 → 32 on 16×16: encoder 38,166,592, feature decoder 170,428,416, both the paper's to the digit.
    """

    _supports_gradient_checkpointing = True
    reads = "features"
    """The array of a feature store that `encode` takes."""

    @register_to_config
    def __init__(
        self,
        feature_dim: int,
        latent_channels: int = 32,
        grid: Grid = (16, 16),
        encoder: str = "attention",
        heads: int = 24,
        head_dim: int = 256,
        activation: str = "gelu",
        decoder_depth: int = 6,
        decoder_head_dim: int = 64,
        feature_norm: str = "channel",
        latent_norm: str = "none",
    ) -> None:
        super().__init__()
        _check_choice("activation", activation, tuple(ACTIVATIONS))
        _check_choice("feature_norm", feature_norm, ("none", "channel"))
        _check_choice("latent_norm", latent_norm, ("none", "rms"))
        self.grid = (grid[0], grid[1])
        self.feature_encoder = self._make_encoder()
        self.feature_decoder = (
            nn.Linear(latent_channels, feature_dim)
            if encoder == "pca"
            else TokenTransformer(latent_channels, feature_dim, decoder_depth, decoder_head_dim, self.grid)
        )
        self.register_buffer("feature_mean", torch.zeros(feature_dim))
        self.register_buffer("feature_std", torch.ones(feature_dim))
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))
        init_linears(self)

    def _make_encoder(self) -> nn.Module:
        c = self.config
        _check_choice("encoder", c.encoder, ("attention", "linear", "transformer-6", "none", "pca"))
        if c.encoder == "none" and c.latent_norm != "none":
            raise ValueError(
                "latent_norm: expected none with encoder 'none', whose latents are the features themselves"
            )
        if c.encoder == "none":
            if c.latent_channels != c.feature_dim:
                raise ValueError(
                    f"latent_channels: expected feature_dim = {c.feature_dim} with encoder 'none' (no compression); "
                    f"received {c.latent_channels}"
                )
            return WithoutNoise()
        if c.encoder == "pca":
            return nn.Sequential(nn.Linear(c.feature_dim, c.latent_channels), WithoutNoise())
        if c.latent_norm == "rms":
            return OnGrid([self._moments_encoder(c.latent_channels), UnitRMS(), WithoutNoise()])
        return self._moments_encoder(2 * c.latent_channels)

    def _moments_encoder(self, out_dim: int) -> nn.Module:
        """Features to means and log-variances, or to the means of latents without a variance."""
        c = self.config
        if c.encoder == "linear":
            return nn.Linear(c.feature_dim, out_dim)
        if c.encoder == "attention":
            return AttentionEncoder(c.feature_dim, out_dim, c.heads, c.head_dim, c.activation)
        trunk = TokenTransformer(c.feature_dim, c.feature_dim, 6, c.decoder_head_dim, self.grid)
        return OnGrid([trunk, nn.Linear(c.feature_dim, out_dim)])

    def forward(
        self,
        x: Tensor,
        generator: torch.Generator | None = None,
        noise_std: float = 0.0,
        angles: Sequence[float] = (),
        decoding: bool = False,
    ) -> Any:
        """Features (N, h, w, C) → (x, x̂, posterior) for the loss: x and x̂ normalized, z drawn with `generator`.

        Args:
            x: features as stored.
            generator: source of every draw.
            noise_std: deviation of the normal numbers of which each image has one: the deviation of the noise on its
                latents (GAE, arXiv 2603.10365: 0.25).
            angles: of perturbed latents, in radians; what each rebuilds to comes after the posterior.
            decoding: x are latents, and their features alone are returned; see `decode`.
        """
        if decoding:
            return self.denormalize(self._rebuild(x))
        x = self.normalize(x)
        posterior = self._posterior(x)
        z = posterior.sample(generator)
        if noise_std:
            scale = noise_std * normal((len(z), 1, 1, 1), generator, z.device)
            z = z + scale * normal(z.shape, generator, z.device)
        perturbed = [self._rebuild(rotated(posterior.mean, angle, generator)) for angle in angles]
        return x, self._rebuild(z), posterior, *perturbed

    def encode(self, x: Tensor) -> ChannelLastGaussian:
        """Features (N, h, w, C) as stored → posterior over latents (N, h, w, c).

        Raises:
            ValueError: x has another width than the model.
        """
        return self._posterior(self.normalize(x))

    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, h, w, c) of the width → features (N, h, w, C) in the scale of the store."""
        features: Tensor = self(z, decoding=True)  # by __call__, whose hooks bring offloaded weights here
        return features

    def normalize(self, x: Tensor) -> Tensor:
        """Stored features → the scale that the model works in; the identity with feature_norm `none`."""
        grid_of(x, self.config.feature_dim, "features")
        if self.config.feature_norm == "none":
            return x
        return torch.addcmul(-self.feature_mean / self.feature_std, x, 1 / self.feature_std)  # one pass over x

    def denormalize(self, x: Tensor) -> Tensor:
        """Undo `normalize`."""
        return x if self.config.feature_norm == "none" else x * self.feature_std + self.feature_mean

    def set_feature_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Record per-channel mean and deviation (C,) of the training features; channels without spread keep std 1."""
        _set_statistics(self.feature_mean, self.feature_std, mean, std)

    def set_latent_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Record per-channel mean and deviation (c,) of the latents, for whoever loads the model alone."""
        _set_statistics(self.latent_mean, self.latent_std, mean, std)

    def _posterior(self, x: Tensor) -> ChannelLastGaussian:
        # (N, h, w, C) -> (N, h·w, C) -> (N, h·w, 2·c) -> (N, h, w, 2·c)
        tokens = x.flatten(1, 2).to(self._dtype_of(self.feature_encoder))
        moments = on_grid(self.feature_encoder, tokens, (x.shape[1], x.shape[2]))
        return ChannelLastGaussian(moments.unflatten(1, x.shape[1:3]))

    def _rebuild(self, z: Tensor) -> Tensor:
        grid = grid_of(z, self.config.latent_channels, "latents")
        # (N, h, w, c) -> (N, h·w, c) -> (N, h·w, C) -> (N, h, w, C)
        tokens = z.flatten(1, 2).to(self._dtype_of(self.feature_decoder))
        out: Tensor = on_grid(self.feature_decoder, tokens, grid).unflatten(1, grid).float()
        return out

    @staticmethod
    def _dtype_of(module: nn.Module) -> torch.dtype:
        """Of the weights, so that either half may be held in bf16 while the statistics stay in float32."""
        first = next(module.parameters(), None)
        return torch.float32 if first is None else first.dtype


def rotated(z: Tensor, angle: float, generator: torch.Generator | None) -> Tensor:
    """Latents (N, h, w, c) turned by an angle towards a random direction at a right angle to each token.

    Lengths stay: z·cos + u·sin with u drawn normal, made orthogonal to z and as long as it.
    """
    u = normal(z.shape, generator, z.device)
    u = u - (u * z).sum(-1, keepdim=True) / z.square().sum(-1, keepdim=True).clamp_min(1e-12) * z
    u = F.normalize(u, dim=-1) * z.norm(dim=-1, keepdim=True)
    turned: Tensor = math.cos(angle) * z + math.sin(angle) * u
    return turned


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}; received {value!r}")


def _set_statistics(mean_buffer: Tensor, std_buffer: Tensor, mean: Tensor, std: Tensor) -> None:
    for name, value in (("mean", mean), ("std", std)):
        if value.shape != mean_buffer.shape or not torch.isfinite(value).all():
            raise ValueError(
                f"{name}: expected {mean_buffer.numel()} finite numbers; received shape {tuple(value.shape)}; "
                "use the statistics of the store that the model is trained on"
            )
    mean_buffer.copy_(mean)
    std_buffer.copy_(torch.where(std > 0, std, 1.0))
