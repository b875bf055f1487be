import pytest
import torch
from torch import nn

from fae.optim.ema import EMA


def moved(model, amount):
    with torch.no_grad():
        for value in model.parameters():
            value.add_(amount)


def test_updates_follow_the_formula():
    model = nn.Linear(3, 2)
    start = model.weight.detach().clone()
    ema = EMA(model, decay=0.9, warmup=False)
    expected = start.clone()
    for step in range(1, 6):
        moved(model, 1.0)
        ema.update(model, step)
        expected = 0.9 * expected + 0.1 * (start + step)
    torch.testing.assert_close(ema.state_dict()["weight"], expected)


@pytest.mark.parametrize(("decay", "same"), [(0.0, "model"), (1.0, "start")])
def test_the_extremes_of_decay(decay, same):
    model = nn.Linear(3, 2)
    start = model.weight.detach().clone()
    ema = EMA(model, decay, warmup=False)
    moved(model, 1.0)
    ema.update(model, 1)
    torch.testing.assert_close(ema.averaged(model).weight, {"model": model.weight, "start": start}[same])


def test_warm_up_ramps_to_the_decay():
    ema = EMA(nn.Linear(1, 1), 0.99)
    assert ema.decay_at(1) == 0
    assert ema.decay_at(2) == pytest.approx(2 / 21)
    assert ema.decay_at(10**6) == 0.99
    assert EMA(nn.Linear(1, 1), 0.99, warmup=False).decay_at(1) == 0.99


@pytest.mark.parametrize("steps", [100, 1000])
def test_with_warm_up_the_mean_age_of_a_short_run_is_a_twentieth_of_its_steps(steps):
    clock = nn.Linear(1, 1)
    ema = EMA(clock, 0.9999)
    for step in range(1, steps + 1):
        with torch.no_grad():
            clock.weight.fill_(step)
        ema.update(clock, step)
    assert steps - float(ema.state_dict()["weight"]) == pytest.approx(steps / 20, rel=0.01)


def test_a_short_run_forgets_its_random_start():
    model = nn.Linear(2, 2)
    ema = EMA(model, 0.9999)
    moved(model, 1e6)
    for step in range(1, 101):
        ema.update(model, step)
    torch.testing.assert_close(ema.averaged(model).weight, model.weight, rtol=1e-6, atol=0)


def test_the_averaged_model_is_a_copy_in_eval_mode_with_the_models_buffers():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    ema = EMA(model, 0.5)
    model(torch.randn(8, 2)).sum().backward()
    moved(model, 1.0)
    before = model[0].weight.detach().clone()
    averaged = ema.averaged(model)
    assert model.training
    assert not averaged.training
    assert torch.equal(averaged[1].running_mean, model[1].running_mean)
    assert averaged[0].weight.grad is None
    assert model[0].weight.grad is not None
    torch.testing.assert_close(averaged[0].weight, before - 1.0)
    torch.testing.assert_close(model[0].weight, before)


def test_frozen_parameters_stay_as_they_are():
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    ema = EMA(model, 0.5)
    assert set(ema.state_dict()) == {"weight"}
    assert torch.equal(ema.averaged(model).bias, model.bias)


def test_low_precision_weights_are_averaged_in_float32():
    model = nn.Linear(2, 2).to(torch.bfloat16)
    ema = EMA(model, 0.999, warmup=False)
    moved(model, 1.0)
    ema.update(model, 1)
    assert ema.state_dict()["weight"].dtype == torch.float32
    assert ema.averaged(model).weight.dtype == torch.bfloat16


def test_state_goes_round():
    model = nn.Linear(2, 2)
    ema, other = EMA(model, 0.5, warmup=False), EMA(nn.Linear(2, 2), 0.5, warmup=False)
    moved(model, 1.0)
    ema.update(model, 1)
    other.load_state_dict(ema.state_dict())
    assert torch.equal(other.state_dict()["weight"], ema.state_dict()["weight"])
    ema.update(model, 2)
    assert not torch.equal(other.state_dict()["weight"], ema.state_dict()["weight"])


def test_a_foreign_state_is_refused():
    with pytest.raises(ValueError, match=r"these differ: 0\.bias"):
        EMA(nn.Linear(2, 2)).load_state_dict(EMA(nn.Sequential(nn.Linear(2, 2))).state_dict())
    with pytest.raises(ValueError, match=r"these differ: weight, bias"):
        EMA(nn.Linear(2, 2)).load_state_dict(EMA(nn.Linear(2, 3)).state_dict())


def test_a_wrong_decay_is_refused():
    with pytest.raises(ValueError, match=r"from 0 to 1; received 1\.5"):
        EMA(nn.Linear(1, 1), 1.5)
