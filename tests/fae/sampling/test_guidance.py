import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fae.sampling.conditions import Classes
from fae.sampling.guidance import guided_velocity
from fae.sampling.intervals import PAPER_GUIDANCE, GuidanceInterval, make_guidance, parse_guidance, scale_at


class Counting:
    """A stand-in whose velocity is its label, with all calls noted."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, y):
        self.calls.append((tuple(x.shape), t.tolist(), y.tolist()))
        return x + y.view(-1, 1, 1, 1) * t.view(-1, 1, 1, 1)


def always(scale):
    return [GuidanceInterval(1.0, 0.0, scale)]


def test_the_papers_intervals_are_closed_where_it_says():
    scales = [scale_at(PAPER_GUIDANCE, t) for t in (1.0, 0.9, 0.899, 0.701, 0.7, 0.35, 0.0)]
    assert scales == [0.9, 0.9, 1.0, 1.0, 2.5, 2.5, 2.5]


def test_text_becomes_intervals():
    assert parse_guidance("0.7,0,2.5; 1,0.9,0.9") == PAPER_GUIDANCE
    assert parse_guidance("paper", 2.0) == PAPER_GUIDANCE
    assert parse_guidance("1,0", 2.0) == (GuidanceInterval(1.0, 0.0, 2.0),)
    assert parse_guidance("1,0.5;0.5,0,3", 2.0) == (GuidanceInterval(1.0, 0.5, 2.0), GuidanceInterval(0.5, 0.0, 3.0))
    assert parse_guidance("") == ()


@pytest.mark.parametrize("text", ["1", "a,b", "1,0,2,3", "0,1", "1.5,0", "1,0.5;0.6,0", "1,0,-1", "1,0,inf", "1,0,nan"])
def test_wrong_text_is_refused(text):
    with pytest.raises(ValueError, match="guidance"):
        parse_guidance(text)


@given(st.floats(0, 1), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=3), st.floats(0, 5))
def test_the_scale_is_an_intervals_own_or_one(t, spans, scale):
    spans = [(max(span), min(span)) for span in spans]
    try:
        guidance = make_guidance(spans, scale)
    except ValueError:
        return
    inside = any(hi >= t >= lo for hi, lo in spans)
    near_an_end = any(abs(t - end) <= 2e-6 for span in spans for end in span)
    assert scale_at(guidance, t) == (scale if inside else 1.0) or near_an_end


def test_rounded_times_at_an_end_are_inside():
    assert scale_at(PAPER_GUIDANCE, float(torch.tensor(0.9))) == 0.9
    assert scale_at(PAPER_GUIDANCE, float(torch.tensor(700.0) / 1000)) == 2.5


def test_scale_one_is_the_plain_model_in_one_evaluation():
    model, x, y = Counting(), torch.randn(3, 2, 2, 4), torch.tensor([0, 1, 2])
    velocity = guided_velocity(model, Classes(y, 9), always(1.0))(x, 0.5)
    torch.testing.assert_close(velocity, model(x, torch.full((3,), 0.5), y))
    assert model.calls[0] == ((3, 2, 2, 4), [0.5] * 3, [0, 1, 2])


def test_scale_zero_is_the_null_class_in_one_evaluation():
    model, x = Counting(), torch.randn(3, 2, 2, 4)
    guided_velocity(model, Classes(torch.tensor([0, 1, 2]), 9), always(0.0))(x, 0.5)
    assert model.calls == [((3, 2, 2, 4), [0.5] * 3, [9, 9, 9])]


def test_guidance_moves_every_channel_and_batches_the_halves():
    model, x, y = Counting(), torch.randn(2, 2, 2, 4), torch.tensor([0, 1])
    velocity = guided_velocity(model, Classes(y, 9), always(3.0))(x, 0.5)
    assert len(model.calls) == 1
    assert model.calls[0][2] == [0, 1, 9, 9]
    null, labeled = 9 * 0.5, y.view(-1, 1, 1, 1) * 0.5
    torch.testing.assert_close(velocity, x + null + 3.0 * (labeled - null))


def test_equal_halves_need_no_guidance():
    x = torch.randn(2, 2, 2, 4)
    velocity = guided_velocity(lambda x, t, y: 2 * x, Classes(torch.tensor([0, 1]), 9), always(7.0))(x, 0.5)
    torch.testing.assert_close(velocity, 2 * x)


def test_a_negative_label_is_the_null_class():
    model = Counting()
    guided_velocity(model, Classes(torch.tensor([-1, 2]), 9))(torch.zeros(2, 1, 1, 1), 1.0)
    assert model.calls[0][2] == [9, 2]


def test_autoguidance_extrapolates_from_the_weak_models_velocity_for_the_same_label():
    model, guide_model, x, y = Counting(), Counting(), torch.randn(2, 2, 2, 4), torch.tensor([0, 1])
    velocity = guided_velocity(model, Classes(y, 9), always(3.0), lambda x, t, y: 0.5 * guide_model(x, t, y))(x, 0.5)
    strong = x + y.view(-1, 1, 1, 1) * 0.5
    torch.testing.assert_close(velocity, 0.5 * strong + 3.0 * (strong - 0.5 * strong))
    assert [call[2] for call in model.calls + guide_model.calls] == [[0, 1], [0, 1]]


def test_a_model_guided_by_itself_is_unchanged():
    def model(x, t, y):
        return 2 * x

    x = torch.randn(2, 2, 2, 4)
    velocity = guided_velocity(model, Classes(torch.tensor([0, 1]), 9), always(2.0), model)(x, 0.5)
    torch.testing.assert_close(velocity, model(x, None, None))


def test_the_weak_model_rests_where_the_scale_is_one():
    guide_model = Counting()
    guided_velocity(Counting(), Classes(torch.tensor([0]), 9), always(1.0), guide_model)(torch.zeros(1, 1, 1, 1), 0.5)
    assert guide_model.calls == []
