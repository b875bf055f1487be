"""A plain convolutional VAE of images: what latents were before features; the autoencoder to compare FAE with."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from fae.images import to_float, to_uint8
from fae.models.posterior import ChannelLastGaussian
from fae.nn import Grid


class PixelVAE(ModelMixin, ConfigMixin):
    """diffusers' AutoencoderKL, channels last, on images as stores keep them: uint8 (N, H, W, 3) ↔ (N, h, w, c).

    It has the interface of `FeatureAutoencoder`, but reads images instead of features and decodes to pixels by itself.

    Args:
        image_size: pixels on a side, or (height, width); others are taken too.
        grid: (h, w) of the latents; each level but the last halves the image, so image_size / h is a power of two.
        latent_channels: c.
        width: channels of the first level; the others have twice as many. A multiple of 16.
        layers: residual blocks of a level.

    Raises:
        ValueError: a grid that halvings do not lead to, or another width.
    """

    reads = "pixels"
    """The array of a feature store that `encode` takes."""

    @register_to_config
    def __init__(
        self,
        image_size: int | Grid = 64,
        grid: Grid = (8, 8),
        latent_channels: int = 32,
        width: int = 32,
        layers: int = 1,
    ) -> None:
        super().__init__()
        # Every model of diffusers comes along: four seconds of a processor that other autoencoders do without.
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        halvings = _halvings(image_size, grid)
        if width < 16 or width % 16:
            raise ValueError(f"vae_width: expected a multiple of 16; received {width}")
        levels = (width, *(2 * width for _ in range(halvings)))
        self.vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(levels),
            up_block_types=("UpDecoderBlock2D",) * len(levels),
            block_out_channels=levels,
            layers_per_block=layers,
            latent_channels=latent_channels,
            norm_num_groups=16,
            sample_size=image_size if isinstance(image_size, int) else max(image_size),
        )

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **arguments: Any) -> Any:
        """Build from a saved config; before schema version 2 of run records `image_size` was `picture_size`."""
        if isinstance(config, Mapping) and "picture_size" in config:
            config = {("image_size" if key == "picture_size" else key): value for key, value in config.items()}
        return super().from_config(config, return_unused_kwargs, **arguments)

    def forward(self, pixels: Tensor, generator: torch.Generator | None = None) -> tuple[ChannelLastGaussian, Tensor]:
        """Images uint8 (N, H, W, 3) → (posterior, images of a draw of it (N, 3, H, W)) for the loss."""
        posterior = self.encode(pixels)
        return posterior, self.decode(posterior.sample(generator))

    def encode(self, pixels: Tensor) -> ChannelLastGaussian:
        """Images uint8 (N, H, W, 3) → posterior over latents (N, h, w, c)."""
        moments = self.vae.encode(to_float(pixels)).latent_dist.parameters
        return ChannelLastGaussian(moments.permute(0, 2, 3, 1))  # (N, 2·c, h, w) -> (N, h, w, 2·c)

    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, h, w, c) → images (N, 3, H, W) in about [-1, 1], float32."""
        images: Tensor = self.vae.decode(z.permute(0, 3, 1, 2)).sample  # (N, h, w, c) -> (N, c, h, w)
        return images.float()

    @torch.inference_mode()
    def repaint(self, pixels: np.ndarray) -> np.ndarray:
        """What the posterior's mean keeps of images: uint8 (N, H, W, 3) → the same shape."""
        return to_uint8(self.decode(self.encode(torch.from_numpy(pixels).to(self.device)).mean))


def _halvings(image_size: int | Grid, grid: Grid) -> int:
    """How often an image is halved until it has the grid's size."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    factor, rest = divmod(height, grid[0])
    if rest or factor < 1 or factor & (factor - 1) or factor * grid[1] != width:
        raise ValueError(
            f"image_size: expected a power of two times the {grid[0]}×{grid[1]} grid with encoder pixel-vae; "
            f"received {image_size}"
        )
    return factor.bit_length() - 1
