import pytest
import torch
from torch import nn

from fae.optim.optimizers import SCHEDULES, learning_rate, make_optimizer, parameter_groups


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.norm = nn.LayerNorm(4)
        self.linear = nn.Linear(4, 3)
        self.conv = nn.Conv2d(3, 2, 3)
        self.table = nn.Parameter(torch.zeros(2, 4))
        self.fixed = nn.Parameter(torch.zeros(2), requires_grad=False)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_is_linear_and_reaches_the_peak(schedule):
    rates = [learning_rate(step, 100, 2.0, 10, schedule) for step in range(11)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(2.0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_never_rise_after_the_warm_up_nor_leave_their_range(schedule):
    rates = [learning_rate(step, 50, 1.0, 5, schedule) for step in range(5, 60)]
    assert rates == sorted(rates, reverse=True)
    assert min(rates) >= 0


def test_each_schedule_has_its_shape():
    assert learning_rate(99, 100, 1.0, 0, "constant") == 1.0
    assert learning_rate(50, 100, 1.0, 0, "cosine") == pytest.approx(0.5)
    assert learning_rate(100, 100, 1.0, 0, "cosine") == pytest.approx(0)
    assert learning_rate(50, 100, 1.0, 0, "constant-then-cosine") == 1.0
    assert learning_rate(75, 100, 1.0, 0, "constant-then-cosine") == pytest.approx(0.5)
    assert learning_rate(100, 100, 1.0, 0, "constant-then-cosine") == pytest.approx(0)


def test_a_run_of_warm_up_alone_has_rates():
    assert learning_rate(5, 10, 1.0, 10, "cosine") == pytest.approx(0.6)
    assert learning_rate(10, 10, 1.0, 10, "cosine") == 1.0


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="received 'linear'"):
        learning_rate(0, 1, 1.0, 0, "linear")


def test_only_weights_of_linear_and_convolution_layers_decay():
    model = Small()
    decayed, kept = parameter_groups(model, 0.1)
    assert [id(value) for value in decayed["params"]] == [id(model.linear.weight), id(model.conv.weight)]
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0.0
    listed = {id(value) for group in (decayed, kept) for value in group["params"]}
    assert listed == {id(value) for value in model.parameters() if value.requires_grad}


def test_a_model_without_kept_parameters_has_one_group():
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1


def test_shared_weights_are_stepped_once():
    model = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    model[1].weight = model[0].weight
    assert len(parameter_groups(model, 0.1)[0]["params"]) == 1


def test_the_fused_kernel_steps_like_plain_adamw():
    torch.manual_seed(0)
    model, plain = nn.Linear(8, 8), nn.Linear(8, 8)
    plain.load_state_dict(model.state_dict())
    ours = make_optimizer(model, 1e-2, weight_decay=0.1)
    assert ours.defaults["fused"]
    theirs = torch.optim.AdamW(
        [{"params": [plain.weight], "weight_decay": 0.1}, {"params": [plain.bias], "weight_decay": 0.0}],
        lr=1e-2,
        foreach=False,
        fused=False,
    )
    x = torch.randn(16, 8)
    for _ in range(5):
        for net, optimizer in ((model, ours), (plain, theirs)):
            net(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(model.weight, plain.weight)
    torch.testing.assert_close(model.bias, plain.bias)
