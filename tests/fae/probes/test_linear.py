"""Linear probes find what is there, and what scikit-learn finds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fae.probes import fit_logistic, load_head, top_k_accuracy


def clouds(seed: int, distance: float, rows: int = 300, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian clouds of 8 channels of unlike scale and offset, one a class."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(classes, 8, generator=torch.Generator().manual_seed(99)) * distance
    labels = torch.randint(classes, (rows,), generator=generator)
    values = centers[labels] + torch.randn(rows, 8, generator=generator)
    return values * torch.logspace(-2, 2, 8) + 5, labels * 3 + 1  # labels 1, 4, 7, 10


def accuracy(train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor]) -> float:
    probe = fit_logistic(*train)
    return top_k_accuracy(probe.scores(test[0]), probe.classes, test[1])


def test_separable_classes_are_told_apart_and_shuffled_labels_are_not() -> None:
    train, test = clouds(0, 20.0, rows=2000), clouds(1, 20.0, rows=2000)
    assert accuracy(train, test) == 1.0
    shuffled = train[1][torch.randperm(2000, generator=torch.Generator().manual_seed(2))]
    chance, sigma = 0.25, (0.25 * 0.75 / 2000) ** 0.5
    # Rows of a class share a fate, so far fewer draws decide than there are rows.
    assert abs(accuracy((train[0], shuffled), test) - chance) < 0.3
    noise = torch.randn(2000, 8, generator=torch.Generator().manual_seed(3))
    assert abs(accuracy((noise, train[1]), (noise.flip(0), test[1])) - chance) < 5 * sigma


@pytest.mark.parametrize("inverse_penalty", [1.0, 0.01])
def test_the_solution_is_scikit_learns(inverse_penalty: float) -> None:
    (rows, labels), (queries, _) = clouds(0, 0.7), clouds(1, 0.7)
    probe = fit_logistic(rows, labels, inverse_penalty)
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(C=inverse_penalty, solver="newton-cholesky", tol=1e-10)
    )
    reference.fit(rows.double().numpy(), labels.numpy())
    np.testing.assert_array_equal(probe.classes, reference.classes_)
    np.testing.assert_allclose(probe.weight, reference[-1].coef_, atol=1e-5)
    expected = reference.predict_proba(queries.double().numpy())
    np.testing.assert_allclose(probe.scores(queries).softmax(dim=1), expected, atol=1e-6)


def test_rows_that_fill_few_of_their_dimensions_converge() -> None:
    """As features do that were rebuilt of a few latent channels: separable, and curved most unequally."""
    generator, classes = torch.Generator().manual_seed(0), 10
    labels = torch.arange(499) % classes
    few = torch.randn(499, 32, generator=generator) + torch.randn(classes, 32, generator=generator)[labels]
    rows = few @ torch.randn(32, 384, generator=generator) * torch.logspace(0, -3, 384)
    rows += 1e-3 * torch.tanh(few @ torch.randn(32, 384, generator=generator))
    rows = rows @ torch.linalg.qr(torch.randn(384, 384, generator=generator))[0]
    probe = fit_logistic(rows, labels, iterations=300)  # torch's L-BFGS took more than 1,000 on the plain loss
    assert top_k_accuracy(probe.scores(rows), probe.classes, labels) == 1.0


def test_constant_channels_change_nothing() -> None:
    rows, labels = clouds(0, 1.0)
    wider = torch.cat([rows, torch.full((len(rows), 2), 3.0)], dim=1)
    probe = fit_logistic(wider, labels)
    torch.testing.assert_close(probe.weight[:, :-2], fit_logistic(rows, labels).weight, atol=1e-6, rtol=0)
    assert probe.weight[:, -2:].abs().max() == 0


def test_top_k_counts_the_best_k() -> None:
    scores, classes = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]), torch.tensor([5, 7, 9])
    labels = torch.tensor([7, 5])
    assert [top_k_accuracy(scores, classes, labels, k) for k in (1, 2, 3, 5)] == [0.0, 0.5, 1.0, 1.0]


def test_bad_input_is_refused() -> None:
    rows, labels = clouds(0, 1.0)
    with pytest.raises(ValueError, match="at least 2 classes"):
        fit_logistic(rows, torch.zeros_like(labels))
    with pytest.raises(ValueError, match="received NaN"):
        fit_logistic(rows * torch.nan, labels)
    with pytest.raises(ValueError, match=r"labels \(N,\)"):
        fit_logistic(rows, labels[:-1])
    with pytest.raises(ValueError, match=r"expected rows \(N, 8\)"):
        fit_logistic(rows, labels).scores(rows[:, :5])
    with pytest.raises(RuntimeError, match="after 1 iterations"):
        fit_logistic(rows, labels, iterations=1)


def test_a_head_scores_features_as_they_are(tmp_path: Path) -> None:
    weight, bias = torch.randn(3, 8), torch.randn(3)
    save_file({"weight": weight, "bias": bias}, tmp_path / "head.safetensors")
    head, rows = load_head(tmp_path / "head.safetensors"), torch.randn(5, 8)
    torch.testing.assert_close(head.scores(rows).float(), rows @ weight.T + bias)
    assert head.classes.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "tensors",
    [{"weight": torch.ones(3, 8)}, {"weight": torch.ones(3, 8), "bias": torch.ones(4)}, {"w": torch.ones(3)}],
)
def test_a_head_of_another_shape_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(ValueError, match=r"expected weight \(classes, C\) and bias"):
        load_head(tmp_path / "head.safetensors")


def test_a_head_that_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.pt").write_bytes(b"pickle")
    with pytest.raises(ValueError, match="expected a safetensors file"):
        load_head(tmp_path / "head.pt")
    with pytest.raises(ValueError, match="expected a safetensors file"):
        load_head(tmp_path / "missing")
