"""Principal components: the best linear compression of feature tokens, in closed form."""

import torch
from torch import Tensor, nn

from fae.autoencoder import FeatureAutoencoder


def principal_axes(covariance: Tensor, count: int) -> Tensor:
    """Eigenvectors (count, C) of a covariance (C, C) with the largest eigenvalues, the largest first.

    An axis has two signs; here its largest entry is positive, so that the same covariance gives the same axes.

    Raises:
        ValueError: more axes than channels.
    """
    if not 1 <= count <= len(covariance):
        raise ValueError(f"latent_channels: expected 1 to {len(covariance)}, the features' channels; received {count}")
    axes = torch.linalg.eigh(covariance).eigenvectors.T.flip(0)[:count]  # columns, ascending -> rows, descending
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    return axes * largest.sign()


@torch.no_grad()
def set_principal_axes(model: FeatureAutoencoder, mean: Tensor, covariance: Tensor) -> None:
    """Make an autoencoder of encoder `pca` project normalised tokens on their principal axes, and back.

    z = A (x - mean) and x̂ = Aᵀ z + mean: of all linear maps to so many channels and back, the one with the least
    squared error (Eckart and Young 1936).

    Args:
        model: with `latent_channels` axes.
        mean: (C,) of the normalised tokens.
        covariance: (C, C) of the normalised tokens.
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
