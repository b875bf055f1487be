"""Linear classifiers on frozen features: logistic regression to convergence, and heads that others have trained."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from fae.weights import load_tensors

HEAD_TENSORS = ("weight", "bias")
_HISTORY = 20
_GRADIENT_TOLERANCE = 1e-9
# torch's L-BFGS learns nothing of a step whose change of gradient times its length is at most 1e-10, as all steps near
# the end are: the loss is stretched.
_STRETCH = 1e8


@dataclass(frozen=True)
class LinearClassifier:
    """Scores (x - mean) / std · weightᵀ + bias, all float64: mean and std (D,), weight (K, D), bias (K,).

    `classes` int64 (K,) are the labels that the scores stand for.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor
    classes: Tensor

    def scores(self, rows: Tensor) -> Tensor:
        """Rows (N, D) → a score for each class, float64 (N, K).

        Raises:
            ValueError: rows of another width than the classifier's.
        """
        if rows.ndim != 2 or rows.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f"classifier: expected rows (N, {self.weight.shape[1]}); received {tuple(rows.shape)}; "
                "use features of the encoder that it was made for"
            )
        return (rows.double() - self.mean) / self.std @ self.weight.T + self.bias


def spread(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of each column, float64 (D,) both; 1 where a column is constant."""
    rows = rows.double()
    std = rows.std(dim=0, correction=0)
    return rows.mean(dim=0), torch.where(std > 0, std, 1.0)


def fit_logistic(
    rows: Tensor, labels: Tensor, inverse_penalty: float = 1.0, iterations: int = 1000
) -> LinearClassifier:
    """Multinomial logistic regression on standardized rows, as a linear probe is (Alain and Bengio, arXiv 1610.01644).

    Minimises Σ cross-entropy + ‖weight‖² / (2·inverse_penalty), biases free, by L-BFGS in float64 from zeros: a
    strictly convex problem without a draw, and the one of scikit-learn's `LogisticRegression(C=inverse_penalty)` after
    `StandardScaler`.

    Args:
        rows: (N, D) features of training rows.
        labels: int64 (N,), any numbers; classes without a row are not known to the probe.
        inverse_penalty: C of scikit-learn.
        iterations: most steps of L-BFGS.

    Raises:
        ValueError: not one label a row, fewer than two classes, or values that are not finite.
        RuntimeError: no convergence within `iterations`.
    """
    classes, targets = _check(rows, labels)
    mean, std = spread(rows)
    inputs = (rows.double() - mean) / std
    weight = torch.zeros(len(classes), rows.shape[1], dtype=torch.float64, device=rows.device, requires_grad=True)
    bias = torch.zeros(len(classes), dtype=torch.float64, device=rows.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        max_eval=2 * iterations,
        history_size=_HISTORY,
        tolerance_grad=_GRADIENT_TOLERANCE * _STRETCH,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(inputs @ weight.T + bias, targets)
        loss = _STRETCH * (loss + weight.square().sum() / (2 * inverse_penalty * len(inputs)))
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
        closure()
    assert weight.grad is not None
    assert bias.grad is not None
    steepest = float(max(weight.grad.abs().max(), bias.grad.abs().max())) / _STRETCH
    if not steepest <= 100 * _GRADIENT_TOLERANCE:
        raise RuntimeError(
            f"linear probe: expected a gradient below {100 * _GRADIENT_TOLERANCE:.0e} after {iterations} iterations; "
            f"received {steepest:.1e}; use a smaller inverse_penalty ({inverse_penalty:g} now)"
        )
    return LinearClassifier(mean, std, weight.detach(), bias.detach(), classes)


def load_head(path: Path) -> LinearClassifier:
    """A linear head of a safetensors file: `weight` (classes, C) and `bias` (classes,), on features as they are.

    Raises:
        ValueError: other tensors, other shapes, or no safetensors file.
    """
    try:
        tensors = load_tensors(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: expected a safetensors file; {error}") from error
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    fits = shapes.keys() == set(HEAD_TENSORS) and len(shapes["weight"]) == 2 and shapes["bias"] == shapes["weight"][:1]
    if not fits:
        raise ValueError(f"{path}: expected weight (classes, C) and bias (classes,); received {shapes}")
    weight, bias = (tensors[name].double() for name in HEAD_TENSORS)
    width = torch.ones(weight.shape[1], dtype=torch.float64)
    return LinearClassifier(torch.zeros_like(width), width, weight, bias, torch.arange(len(weight)))


def top_k_accuracy(scores: Tensor, classes: Tensor, labels: Tensor, k: int = 1) -> float:
    """Share of rows whose label is among the k classes with the highest scores (N, K), 0 to 1."""
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return float((classes[best] == labels[:, None]).any(dim=1).double().mean())


def _check(rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The classes, and each row's place among them."""
    if rows.ndim != 2 or labels.shape != rows.shape[:1]:
        raise ValueError(f"expected rows (N, D) and labels (N,); received {tuple(rows.shape)}, {tuple(labels.shape)}")
    if not torch.isfinite(rows).all():
        raise ValueError("linear probe: expected finite rows; received NaN or inf; look for where the model diverged")
    classes, targets = torch.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"linear probe: expected rows of at least 2 classes; received labels {classes.tolist()}")
    return classes, targets
