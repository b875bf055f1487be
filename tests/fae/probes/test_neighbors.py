"""k-NN by cosine votes as scikit-learn's does."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from fae.probes import knn_classify, neighbors


@pytest.mark.parametrize("chunk", [1024, 7])
def test_predictions_are_scikit_learns(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(neighbors, "CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    rows, queries = torch.randn(400, 6, generator=generator), torch.randn(150, 6, generator=generator)
    labels = torch.randint(5, (400,), generator=generator) * 2
    for k, found in zip((1, 10, 20), knn_classify(rows, labels, queries, (1, 10, 20)), strict=True):
        reference = KNeighborsClassifier(k, metric="cosine").fit(rows.double().numpy(), labels.numpy())
        np.testing.assert_array_equal(found, reference.predict(queries.double().numpy()))


def test_length_does_not_count_and_ties_go_to_the_smaller_label() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 100.0]])
    labels = torch.tensor([8, 3])
    nearest, tie = knn_classify(rows, labels, torch.tensor([[100.0, 1.0]]), (1, 2))
    assert (nearest.tolist(), tie.tolist()) == ([8], [3])


def test_more_neighbors_than_rows_are_refused() -> None:
    rows = torch.ones(3, 2)
    with pytest.raises(ValueError, match="from 1 to 3"):
        knn_classify(rows, torch.arange(3), rows, (1, 4))
    with pytest.raises(ValueError, match="one width"):
        knn_classify(rows, torch.arange(3), torch.ones(3, 4), (1,))
