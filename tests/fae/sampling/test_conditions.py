"""Conditions: classes and captions are dropped, emptied and joined row by row."""

import pytest
import torch

from fae.sampling.conditions import Captions, Classes, EmptyCaption

NOTHING = EmptyCaption(torch.tensor([[7.0, 7.0], [0.0, 0.0], [0.0, 0.0]]), torch.tensor([1]), torch.tensor([5.0]))


def captions(count):
    states = torch.arange(count * 6, dtype=torch.float32).reshape(count, 3, 2) + 100
    return Captions(states, 1 + torch.arange(count) % 3, 10 + torch.arange(count).float().unsqueeze(1), NOTHING)


def both(count):
    return [Classes(torch.arange(count), 99), captions(count)]


def same(one, other):
    if isinstance(one, Classes):
        return torch.equal(one.inputs, other.inputs)
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("states", "lengths", "pooled"))


def test_a_negative_label_is_the_null_class():
    assert Classes(torch.tensor([3, -1, 9]), 9).inputs.tolist() == [3, 9, 9]


def test_the_mask_counts_the_states():
    assert captions(3).mask.tolist() == [[True, False, False], [True, True, False], [True, True, True]]


def test_the_empty_caption_stands_where_it_is_asked_for():
    mixed = captions(3).where_empty(torch.tensor([False, True, False]))
    assert torch.equal(mixed.states[1], NOTHING.states)
    assert torch.equal(mixed.states[[0, 2]], captions(3).states[[0, 2]])
    assert (mixed.lengths.tolist(), mixed.pooled.flatten().tolist()) == ([1, 1, 3], [10.0, 5.0, 12.0])


@pytest.mark.parametrize("kind", [0, 1])
def test_all_or_none_are_dropped(kind):
    conditions = both(5)[kind]
    assert same(conditions.with_dropout(1.0, None), conditions.empty())
    assert same(conditions.with_dropout(0.0, None), conditions)
    assert not same(conditions.empty(), conditions)


@pytest.mark.parametrize("kind", [0, 1])
def test_each_sample_is_dropped_by_itself_in_the_stated_share(kind):
    conditions = both(20_000)[kind]
    dropped = conditions.with_dropout(0.1, torch.Generator().manual_seed(0))
    empty = dropped.inputs == 99 if kind == 0 else dropped.pooled.flatten() == 5.0
    assert float(empty.float().mean()) == pytest.approx(0.1, abs=0.01)
    if kind == 0:
        assert torch.equal(dropped.labels[~empty], conditions.labels[~empty])
    else:
        # One draw for a caption: its states, its length and its pooled vector go together.
        assert torch.equal(dropped.states[empty], NOTHING.states.expand(int(empty.sum()), -1, -1))
        assert torch.equal(dropped.states[~empty], conditions.states[~empty])


@pytest.mark.parametrize("kind", [0, 1])
def test_joined_are_one_after_the_other(kind):
    conditions = both(3)[kind]
    joined = conditions.cat(conditions.empty())
    assert len(joined) == 6
    if kind == 0:
        assert joined.inputs.tolist() == [0, 1, 2, 99, 99, 99]
    else:
        assert torch.equal(joined.states[:3], conditions.states)
        assert torch.equal(joined.states[3:], NOTHING.states.expand(3, -1, -1))
    assert same(conditions.to("cpu"), conditions)


@pytest.mark.parametrize("kind", [0, 1])
def test_any_may_be_chosen_again_and_again(kind):
    conditions = both(4)[kind]
    chosen = conditions.index_select(torch.tensor([2, 0, 2]))
    assert len(chosen) == 3
    first = "labels" if kind == 0 else "lengths"
    assert getattr(chosen, first).tolist() == [getattr(conditions, first).tolist()[number] for number in (2, 0, 2)]
    assert same(conditions.index_select(torch.arange(4)), conditions)
