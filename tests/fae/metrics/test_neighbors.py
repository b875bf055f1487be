"""Precision, recall and copies against scikit-learn and cases worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from fae.metrics import copy_share, knn_recall, nearest_distances, neighbors


def rows(count: int, dim: int = 5, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (count, dim))


def sklearn_inside(points: np.ndarray, manifold: np.ndarray, k: int) -> float:
    """Share of points within the ball of at least one row of the manifold."""
    radii = NearestNeighbors(n_neighbors=k + 1).fit(manifold).kneighbors(manifold)[0][:, k]
    distances = NearestNeighbors(n_neighbors=len(manifold)).fit(manifold).kneighbors(points)
    return float(np.mean([(d <= radii[i]).any() for d, i in zip(*distances, strict=True)]))


@given(seed=st.integers(0, 50), k=st.integers(1, 5), shift=st.floats(0, 3))
def test_precision_and_recall_equal_scikit_learn(seed: int, k: int, shift: float) -> None:
    real, generated = rows(40, seed=seed), rows(30, seed=seed + 1000, shift=shift)
    assert knn_recall(generated, real, k) == pytest.approx(sklearn_inside(generated, real, k))
    assert knn_recall(real, generated, k) == pytest.approx(sklearn_inside(real, generated, k))


def test_a_collapsed_generator_is_precise_without_recall() -> None:
    real = rows(300)
    generated = real[:1] + 1e-3 * rows(100, seed=1)
    assert knn_recall(generated, real, 3) == 1
    assert knn_recall(real, generated, 3) < 0.02


def test_a_generator_far_away_has_neither() -> None:
    assert knn_recall(rows(50, shift=100), rows(50), 3) == 0
    assert knn_recall(rows(50), rows(50, shift=100), 3) == 0


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = rows(50), rows(45, seed=1, shift=0.5)
    whole = knn_recall(real, generated, 3)
    monkeypatch.setattr(neighbors, "CHUNK", 7)
    assert knn_recall(real, generated, 3) == whole


def test_nearest_distances_take_arrays_and_tensors() -> None:
    points = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert nearest_distances(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), points).tolist() == pytest.approx([1.0, 3.0])


def test_copies_are_what_lies_nearer_than_held_out_rows() -> None:
    """On a line: held-out rows are 1 to 10 away from the only training row, so the bound at quantile 0 is 1."""
    train, heldout = np.array([[0.0]]), np.arange(1.0, 11.0)[:, None]
    samples = np.array([[0.0], [0.5], [1.0], [2.0]])  # a copy, a near copy, as near as a real one, farther
    assert copy_share(samples, train, heldout, quantile=0.0) == 0.5
    assert copy_share(samples, train, heldout, quantile=0.5) == 1.0


def test_fresh_rows_score_the_quantile_and_copies_score_one() -> None:
    train, heldout, fresh = rows(500), rows(1000, seed=1), rows(1000, seed=2)
    assert copy_share(fresh, train, heldout, quantile=0.1) == pytest.approx(0.1, abs=0.03)
    assert copy_share(train[:100], train, heldout) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: knn_recall(rows(3), rows(3), k=3), "from 1 to 2"),
        (lambda: knn_recall(rows(5), rows(5, dim=4), 3), "of one width"),
        (lambda: nearest_distances(rows(5) * np.nan, rows(5)), "NaN or inf"),
        (lambda: copy_share(rows(5), rows(5), rows(5), quantile=1.0), "quantile"),
    ],
)
def test_rows_that_do_not_fit_are_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
