"""Principal components: the best linear compression of feature tokens, in closed form."""

import torch
from torch import Tensor, nn

from fae.models.autoencoder import FeatureAutoencoder
from fae.principal import principal_components


def principal_axes(covariance: Tensor, count: int) -> Tensor:
    """The axes (count, C) of a covariance (C, C) with the largest variances; see `principal_components`.

    Raises:
        ValueError: more axes than channels.
    """
    if not 1 <= count <= len(covariance):
        raise ValueError(f"latent_channels: expected 1 to {len(covariance)}, the features' channels; received {count}")
    return principal_components(covariance, count)[1]


@torch.no_grad()
def set_principal_axes(model: FeatureAutoencoder, mean: Tensor, covariance: Tensor) -> None:
    """Make an autoencoder of encoder `pca` project normalized tokens on their principal axes, and back.

    z = A (x - mean) and x̂ = Aᵀ z + mean: of all linear maps to so many channels and back, the one with the least
    squared error (Eckart and Young 1936).

    Args:
        model: with `latent_channels` axes.
        mean: (C,) of the normalized tokens.
        covariance: (C, C) of the normalized tokens.
    """
    assert model.config.encoder == "pca", model.config.encoder
    axes = principal_axes(covariance, model.config.latent_channels)
    project, rebuild = next(model.feature_encoder.children()), model.feature_decoder
    assert isinstance(project, nn.Linear)
    assert isinstance(rebuild, nn.Linear)
    project.weight.copy_(axes)
    project.bias.copy_(-axes @ mean)
    rebuild.weight.copy_(axes.T)
    rebuild.bias.copy_(mean)
