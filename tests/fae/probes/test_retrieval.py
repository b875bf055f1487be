"""Retrieval against answers that are known, and against a count by hand."""

import numpy as np
import pytest
import torch

from fae.probes import caption_ranks, image_ranks, recall, retrieval


def by_hand(images, captions, owner, k):
    """As in Karpathy's evaluation: sort all by cosine and look among the first k."""
    p = images / np.linalg.norm(images, axis=1, keepdims=True)
    c = captions / np.linalg.norm(captions, axis=1, keepdims=True)
    to_image = [owner[m] in np.argsort(-(p @ c[m]))[:k] for m in range(len(c))]
    to_text = [any(owner[m] == n for m in np.argsort(-(c @ p[n]))[:k]) for n in range(len(p))]
    return float(np.mean(to_image)), float(np.mean(to_text))


def test_recall_is_that_of_a_count_by_hand(monkeypatch):
    monkeypatch.setattr(retrieval, "QUERIES_AT_ONCE", 7)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(40, 6))
    owner = generator.permutation(np.repeat(np.arange(40), 3))
    captions = images[owner] + generator.normal(size=(120, 6))
    found = recall(torch.from_numpy(images), torch.from_numpy(captions), torch.from_numpy(owner), (1, 5, 10))
    for k in (1, 5, 10):
        expected = by_hand(images, captions, owner, k)
        assert (found[f"text_to_image_{k}"], found[f"image_to_text_{k}"]) == expected
        assert 0.05 < expected[0] < 1


def test_ranks_of_a_few_vectors():
    images = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    captions = torch.tensor([[3.0, 1.0], [1.0, 3.0], [1.0, 2.9]])
    owner = torch.tensor([0, 0, 1])
    assert image_ranks(images, captions, owner).tolist() == [0, 1, 0]
    assert caption_ranks(images, captions, owner).tolist() == [0, 1]
    assert recall(images, captions, owner, (1, 2)) == {
        "text_to_image_1": pytest.approx(2 / 3),
        "text_to_image_2": 1.0,
        "image_to_text_1": 0.5,
        "image_to_text_2": 1.0,
    }


def test_embeddings_that_are_all_the_same_find_nothing():
    ones = torch.ones(30, 4)
    found = recall(ones, ones, torch.arange(30), (1, 5, 10))
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize(
    ("images", "owner", "expected"),
    [((3, 5), [0, 1, 2], "one width"), ((3, 4), [0, 1], "an owner"), ((3, 4), [0, 1, 1], "a caption of each")],
)
def test_mistakes_are_named(images, owner, expected):
    with pytest.raises(ValueError, match=expected):
        recall(torch.zeros(images), torch.zeros(3, 4), torch.tensor(owner), (1,))
