"""An alignment head learns what latents and captions share, and nothing where they share nothing."""

import pytest
import torch

from fae.probes import AlignmentHead, AlignmentSettings, fit_alignment, own_caption

SETTINGS = AlignmentSettings(hidden_size=32, embedding_size=16, dropout=0.1, steps=150, batch_size=64)


def pairs(rows, seed):
    """Latents (N, 4, 4, 8) and two captions (N, 2, 12) of each that tell of the same 4 hidden numbers."""
    generator = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(99)
    to_latents, to_texts = torch.randn(4, 8, generator=fixed), torch.randn(4, 12, generator=fixed)
    hidden = torch.randn(rows, 4, generator=generator)
    latents = (hidden @ to_latents)[:, None, None] + torch.randn(rows, 4, 4, 8, generator=generator)
    texts = (hidden @ to_texts)[:, None] + 0.2 * torch.randn(rows, 2, 12, generator=generator)
    return latents * 3 + 1, texts


def recall(head, latents, texts):
    return own_caption(head.images(latents), head.captions(texts[:, 0]), torch.arange(len(latents)), 39, 0)


@pytest.fixture(scope="module")
def head() -> AlignmentHead:
    return fit_alignment(*pairs(300, 0), SETTINGS)


def test_captions_of_new_images_are_recognized(head):
    found = recall(head, *pairs(100, 1))
    assert found.recall_1.value > 0.5  # 0.025 by chance
    assert found.recall_5.value > 0.9
    assert found.recall_1.low < found.recall_1.value < found.recall_1.high
    unit = head.images(pairs(100, 1)[0]).norm(dim=1)
    torch.testing.assert_close(unit, torch.ones(100))


def test_captions_of_other_images_teach_nothing():
    latents, texts = pairs(300, 0)
    shuffled = fit_alignment(latents, texts[torch.randperm(300, generator=torch.Generator().manual_seed(2))], SETTINGS)
    assert recall(shuffled, *pairs(100, 1)).recall_1.value < 0.1


def test_the_seed_decides_every_weight_and_the_callers_draws_are_left_alone(head):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    steps = []
    again = fit_alignment(*pairs(300, 0), SETTINGS, steps.append)
    assert steps == list(range(1, SETTINGS.steps + 1))
    assert torch.equal(torch.rand(3), expected)
    for name, weight in head.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_too_few_pairs_are_refused():
    latents, texts = pairs(3, 0)
    with pytest.raises(ValueError, match="at least 2 images"):
        fit_alignment(latents[:1], texts[:1], SETTINGS)
    with pytest.raises(ValueError, match="received 2 and 3"):
        fit_alignment(latents[:2], texts, SETTINGS)
