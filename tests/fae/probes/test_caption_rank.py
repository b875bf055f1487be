"""Ranks of one's own caption against answers that are known."""

import pytest
import torch

from fae.probes import own_caption


def test_chance_is_what_blind_images_reach():
    generator = torch.Generator().manual_seed(0)
    images, captions = torch.randn(2000, 8, generator=generator), torch.randn(50, 8, generator=generator)
    own = torch.randint(50, (2000,), generator=generator)
    found = own_caption(images, captions, own, 19, 0)
    assert found.chance == (0.05, 0.25, 10.5)
    for estimate, chance in zip((found.recall_1, found.recall_5, found.mean_rank), found.chance, strict=True):
        assert estimate.low < chance < estimate.high
    assert (found.others, found.images, found.captions) == (19, 2000, 50)


def test_ranks_count_what_is_at_least_as_near():
    captions = torch.eye(4)
    images = torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    found = own_caption(images, captions, torch.tensor([0, 2, 1]), 99, 0)
    assert found.others == 3  # there are no more
    assert found.recall_1.value == pytest.approx(1 / 3)
    assert found.recall_5.value == 1.0
    assert found.mean_rank.value == pytest.approx((1 + 3 + 4) / 3)  # a tie with all counts against its own


def test_images_of_one_caption_count_as_one_draw():
    generator = torch.Generator().manual_seed(1)
    captions, single = torch.randn(20, 8, generator=generator), torch.randn(20, 8, generator=generator)
    once = own_caption(single, captions, torch.arange(20), 19, 0)
    thrice = own_caption(single.repeat(3, 1), captions, torch.arange(20).repeat(3), 19, 0)
    assert thrice.mean_rank.value == once.mean_rank.value
    width = once.mean_rank.high - once.mean_rank.low
    assert thrice.mean_rank.high - thrice.mean_rank.low == pytest.approx(width, rel=0.1)


def test_others_are_drawn_by_the_seed():
    generator = torch.Generator().manual_seed(2)
    captions, images = torch.randn(40, 8, generator=generator), torch.randn(40, 8, generator=generator)
    ranks = [own_caption(images, captions, torch.arange(40), 9, seed).mean_rank for seed in (0, 0, 1)]
    assert ranks[0] == ranks[1] != ranks[2]


def test_one_caption_cannot_be_told_apart():
    with pytest.raises(ValueError, match="at least 2 different ones"):
        own_caption(torch.ones(3, 2), torch.ones(1, 2), torch.zeros(3, dtype=torch.long), 9, 0)
