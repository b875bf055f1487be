"""PCA as an autoencoder: numpy's own, by whatever way it is worked out."""

import numpy as np
import pytest
import torch

from fae.models.autoencoder import FeatureAutoencoder
from fae.models.pca import principal_axes, set_principal_axes


@pytest.fixture
def tokens():
    random = torch.Generator().manual_seed(0)
    return torch.randn(500, 8, generator=random) @ torch.randn(8, 8, generator=random) + torch.arange(8.0)


def test_it_rebuilds_what_the_svd_does(tokens):
    model = FeatureAutoencoder(8, 3, grid=(2, 2), encoder="pca", feature_norm="none").eval()
    set_principal_axes(model, tokens.mean(dim=0), torch.cov(tokens.T, correction=0))
    x = tokens[:400].reshape(100, 2, 2, 8)
    with torch.no_grad():
        posterior = model.encode(x)
        rebuilt = model.decode(posterior.mean)
        drawn = model.decode(posterior.sample(torch.Generator().manual_seed(0)))

    centered = tokens.double().numpy() - tokens.double().numpy().mean(axis=0)
    axes = np.linalg.svd(centered, full_matrices=False)[2][:3]
    expected = centered[:400] @ axes.T @ axes + tokens.double().numpy().mean(axis=0)
    np.testing.assert_allclose(rebuilt.reshape(400, 8).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(drawn.numpy(), rebuilt.numpy(), atol=1e-4)
    np.testing.assert_allclose(posterior.mean.reshape(400, 3).abs().numpy(), np.abs(centered[:400] @ axes.T), atol=1e-4)


def test_as_many_axes_as_channels_lose_nothing(tokens):
    model = FeatureAutoencoder(8, 8, grid=(2, 2), encoder="pca", feature_norm="none").eval()
    set_principal_axes(model, tokens.mean(dim=0), torch.cov(tokens.T, correction=0))
    x = tokens[:8].reshape(2, 2, 2, 8)
    with torch.no_grad():
        np.testing.assert_allclose(model.decode(model.encode(x).mean).numpy(), x.numpy(), atol=1e-4)


def test_axes_are_ordered_and_have_one_sign():
    covariance = torch.diag(torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64))
    assert principal_axes(covariance, 2).tolist() == [[0, 1, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="expected 1 to 3"):
        principal_axes(covariance, 4)


def test_it_is_saved_and_loaded(tokens, tmp_path):
    model = FeatureAutoencoder(8, 3, grid=(2, 2), encoder="pca").eval()
    set_principal_axes(model, tokens.mean(dim=0), torch.cov(tokens.T, correction=0))
    model.save_pretrained(tmp_path)
    loaded = FeatureAutoencoder.from_pretrained(tmp_path, low_cpu_mem_usage=False).eval()
    x = tokens[:4].reshape(1, 2, 2, 8)
    assert torch.equal(loaded.encode(x).mean, model.encode(x).mean)
