import math

import pytest
import torch

from fae.losses.latent_terms import LATENT_TERMS, LatentTermInputs, manifold, semantic, structure, weighted_terms


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


X = draw(3, 4, 4, 16)


def test_latents_with_the_features_cosines_have_no_structure_loss():
    rotation, _ = torch.linalg.qr(draw(16, 16))
    assert float(structure(LatentTermInputs(X, X, 2 * X @ rotation))) == pytest.approx(0, abs=1e-6)
    assert float(structure(LatentTermInputs(X, X, draw(3, 4, 4, 2)[..., :2]))) > 0.01


def test_structure_is_the_mean_squared_difference_of_cosines():
    x = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])  # cosine 0
    z = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])  # cosine 1/√2
    assert float(structure(LatentTermInputs(x, x, z))) == pytest.approx(2 * 0.5 / 4)


def test_semantic_is_pooled_and_token_cosines():
    assert float(semantic(LatentTermInputs(X, 3 * X, X))) == pytest.approx(0, abs=1e-6)
    assert float(semantic(LatentTermInputs(X, -X, X))) == pytest.approx(4, abs=1e-6)


def test_manifold_compares_each_with_the_nearer_one_which_is_fixed():
    x_hat, half, far = X.clone().requires_grad_(), (2 * X).requires_grad_(), (-X).requires_grad_()
    loss = manifold(LatentTermInputs(X, x_hat, X, [half, far]))
    assert float(loss.detach()) == pytest.approx(0 + 2, abs=1e-5)
    loss.backward()
    assert x_hat.grad is None
    assert half.grad is not None
    assert far.grad is not None


def test_only_terms_with_a_weight_are_computed():
    inputs = LatentTermInputs(X, X, X)
    assert weighted_terms(inputs, {"structure": 0.0, "manifold": 0.0, "semantic": 1.0}).keys() == {"semantic"}
    assert set(LATENT_TERMS) == {"structure", "manifold", "semantic"}
    assert math.isfinite(float(weighted_terms(inputs, {"structure": 1.0})["structure"]))
